package blobstore

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"
)

// openAzure takes the parameters and the environment of gocloud's azureblob.
func openAzure(u *url.URL) (Raw, error) {
	fromEnv := azureblob.NewDefaultServiceURLOptions()
	service := *fromEnv
	if err := azureParams(&service, u.Query()); err != nil {
		return nil, err
	}
	if service.AccountName == "" {
		return nil, fmt.Errorf("%w: no account: set AZURE_STORAGE_ACCOUNT, or add ?storage_account=NAME", ErrURL)
	}
	at, err := azureblob.NewServiceURL(&service)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if err := sameOrigin(fromEnv, at); err != nil {
		return nil, err
	}
	containerURL, err := url.JoinPath(string(at), u.Host)
	if err != nil {
		return nil, err
	}
	s := &azureStore{transport: newTransport()}
	if s.client, err = s.open(containerURL, u.Host, service.SASToken); err != nil {
		return nil, err
	}
	return s, nil
}

// azureParams lets a URL's parameters win over the environment.
func azureParams(o *azureblob.ServiceURLOptions, q url.Values) error {
	if err := checkParams(q, "domain protocol storage_account cdn localemu"); err != nil {
		return err
	}
	for name, values := range q {
		if len(values) > 1 {
			return fmt.Errorf("%w: %s= is given %d times", ErrURL, name, len(values))
		}
		value := values[0]
		var err error
		switch name {
		case "domain":
			o.StorageDomain = value
		case "protocol":
			o.Protocol = value
		case "storage_account":
			o.AccountName = value
		case "cdn":
			o.IsCDN, err = strconv.ParseBool(value)
		case "localemu":
			o.IsLocalEmulator, err = strconv.ParseBool(value)
		}
		if err != nil {
			return fmt.Errorf("%w: %s=%q: want true or false", ErrURL, name, value)
		}
	}
	return nil
}

// sameOrigin refuses to send the SAS token of the environment, which is part of
// the service's URL, to where a bucket's URL says.
func sameOrigin(fromEnv *azureblob.ServiceURLOptions, at azureblob.ServiceURL) error {
	if fromEnv.SASToken == "" {
		return nil
	}
	own, err := azureblob.NewServiceURL(fromEnv)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrURL, err)
	}
	a, aerr := url.Parse(string(own))
	b, berr := url.Parse(string(at))
	if err := errors.Join(aerr, berr); err != nil {
		return err
	}
	if !strings.EqualFold(a.Scheme, b.Scheme) || !strings.EqualFold(a.Host, b.Host) {
		return fmt.Errorf("%w: parameters may not change the service (%s) while AZURE_STORAGE_SAS_TOKEN is set", ErrURL, a.Host)
	}
	return nil
}

// open finds credentials: an account's key, a SAS token, a connection string, or
// those of azidentity's default chain, in this order.
func (s *azureStore) open(at, name, sasToken string) (*container.Client, error) {
	o := policy.ClientOptions{
		Transport: s.transport,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // ours is the only loop
		Telemetry: policy.TelemetryOptions{ApplicationID: agent},
	}
	options := &container.ClientOptions{ClientOptions: o}
	account, key := os.Getenv("AZURE_STORAGE_ACCOUNT"), os.Getenv("AZURE_STORAGE_KEY")
	connection := os.Getenv("AZURE_STORAGE_CONNECTION_STRING")
	if connection == "" {
		connection = os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING")
	}
	switch {
	case account != "" && key != "":
		cred, err := azblob.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, fmt.Errorf("AZURE_STORAGE_KEY: %w", err)
		}
		return container.NewClientWithSharedKeyCredential(at, cred, options)
	case sasToken != "":
		return container.NewClientWithNoCredential(at, options)
	case connection != "":
		return container.NewClientFromConnectionString(connection, name, options)
	}
	o.Retry = policy.RetryOptions{} // a token is worth the SDK's own patience
	cred, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: o})
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return container.NewClient(at, cred, options)
}
