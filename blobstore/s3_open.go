package blobstore

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	gcaws "gocloud.dev/aws"
)

// agent is how the stores' logs name us.
const agent = "wpd"

// s3Params are the parameters of gocloud's s3blob and aws.V2ConfigFromURLParams.
const s3Params = "region endpoint hostname_immutable use_path_style s3ForcePathStyle disable_https accelerate dualstack fips " +
	"profile role anonymous ssetype kmskeyid rate_limiter_capacity request_checksum_calculation response_checksum_validation awssdk"

// openS3 opens a bucket of S3. Unless its parameters ask for the SDK's checksums,
// there are none: ours cover the bytes from the writer to the reader.
func openS3(ctx context.Context, u *url.URL, log *slog.Logger) (Raw, error) {
	q := u.Query()
	s := &s3Store{transport: newTransport(), bucket: u.Host}
	options := []func(*s3.Options){func(o *s3.Options) {
		o.HTTPClient = s.transport
		o.Retryer = aws.NopRetryer{} // ours is the only loop
		o.AppID = agent
		o.Logger = sdkLogger(log)
		o.DisableLogOutputChecksumValidationSkipped = true
	}}
	if err := checkParams(q, s3Params); err != nil {
		return nil, err
	}
	flags, err := s3Flags(q)
	if err != nil {
		return nil, err
	}
	options = append(options, flags...)
	if s.sse, err = s3Encryption(take(q, "ssetype")); err != nil {
		return nil, err
	}
	if id := take(q, "kmskeyid"); id != "" {
		s.kmsKey = &id
	}
	s.trails = strings.EqualFold(q.Get("request_checksum_calculation"), "when_supported")
	for _, name := range []string{"request_checksum_calculation", "response_checksum_validation"} {
		if !q.Has(name) {
			q.Set(name, "when_required")
		}
	}
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("%w: no region: add ?region=NAME, or set AWS_REGION; any name does for a server that has no regions", ErrURL)
	}
	s.client = s3.NewFromConfig(cfg, options...)
	return s, nil
}

// s3Flags takes the parameters that are yes or no from q.
func s3Flags(q url.Values) ([]func(*s3.Options), error) {
	var options []func(*s3.Options)
	for name, set := range map[string]func(o *s3.Options, on bool){
		"accelerate":       func(o *s3.Options, on bool) { o.UseAccelerate = on },
		"use_path_style":   func(o *s3.Options, on bool) { o.UsePathStyle = on },
		"s3ForcePathStyle": func(o *s3.Options, on bool) { o.UsePathStyle = on },
		"disable_https":    func(o *s3.Options, on bool) { o.EndpointOptions.DisableHTTPS = on },
	} {
		value := take(q, name)
		if value == "" {
			continue
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("%w: %s=%q: want true or false", ErrURL, name, value)
		}
		options = append(options, func(o *s3.Options) { set(o, on) })
	}
	return options, nil
}

// s3Encryption finds a kind of server-side encryption; "" is none.
func s3Encryption(name string) (types.ServerSideEncryption, error) {
	if name == "" {
		return "", nil
	}
	for _, known := range types.ServerSideEncryption("").Values() {
		if strings.EqualFold(string(known), name) {
			return known, nil
		}
	}
	return "", fmt.Errorf("%w: ssetype=%q: want one of %v", ErrURL, name, types.ServerSideEncryption("").Values())
}

// checkParams refuses a parameter that is not in a list with blanks between.
func checkParams(q url.Values, known string) error {
	for name := range q {
		if !strings.Contains(" "+known+" ", " "+name+" ") {
			return fmt.Errorf("%w: unknown parameter %q: want one of %s, or prefix", ErrURL, name, known)
		}
	}
	return nil
}

// take removes a parameter and returns its first value; "" if there is none.
func take(q url.Values, name string) string {
	value := q.Get(name)
	q.Del(name)
	return value
}

// sdkLogger passes on what the SDK has to say, which it would print otherwise.
func sdkLogger(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(c logging.Classification, format string, v ...any) {
		level := slog.LevelDebug
		if c == logging.Warn {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "s3: "+fmt.Sprintf(format, v...))
	})
}
