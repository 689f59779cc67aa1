package blobstore

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"google.golang.org/api/googleapi"
)

// errNoBucket is wrapped by the errors of a store that has no such bucket.
// Nothing may be concluded about objects.
var errNoBucket = errors.New("the bucket does not exist")

// ThrottledError is what a [Raw] wraps an error in with which its store asks for
// fewer requests, or says that it can't answer them in time.
type ThrottledError struct {
	// After is how long the store wants to be left alone; 0: it did not say.
	After time.Duration
	Err   error
}

// Error implements error.
func (e *ThrottledError) Error() string {
	if e.After > 0 {
		return fmt.Sprintf("the store throttles, try again after %v: %v", e.After, e.Err)
	}
	return fmt.Sprintf("the store throttles: %v", e.Err)
}

// Unwrap returns Err.
func (e *ThrottledError) Unwrap() error { return e.Err }

func throttled(err error) bool {
	_, ok := errors.AsType[*ThrottledError](err)
	return ok
}

// answer is what a store said, as far as the error of its SDK tells.
type answer struct {
	status int    // of HTTP
	code   string // the store's word for it; "" if it has none
	header http.Header
}

// answerOf finds the answer in an error of any of the SDKs. There is none if the
// request was not sent, or the reply was lost.
func answerOf(err error) (a answer, ok bool) {
	var s3http *smithyhttp.ResponseError
	var azure *azcore.ResponseError
	var google *googleapi.Error
	switch {
	case errors.As(err, &s3http) && s3http.Response != nil:
		a = answer{status: s3http.Response.StatusCode, header: s3http.Response.Header}
		if api, ok := errors.AsType[smithy.APIError](err); ok {
			a.code = api.ErrorCode()
		}
	case errors.As(err, &azure):
		a = answer{status: azure.StatusCode, code: azure.ErrorCode}
		if azure.RawResponse != nil {
			a.header = azure.RawResponse.Header
		}
	case errors.As(err, &google):
		a = answer{status: google.Code, code: googleCode(google), header: google.Header}
	default:
		return answer{}, false
	}
	return a, true
}

// googleCode is the first reason that is given, or what stands for it: only its
// text tells a missing bucket from a missing object.
func googleCode(e *googleapi.Error) string {
	if e.Code == http.StatusNotFound {
		if strings.Contains(e.Message+e.Body, "bucket does not exist") {
			return "NoSuchBucket"
		}
		return "NoSuchKey"
	}
	if len(e.Errors) > 0 {
		return e.Errors[0].Reason
	}
	return ""
}

// meaning adds to an SDK's error what it means to us: fs.ErrExist,
// fs.ErrNotExist, fs.ErrPermission, [ThrottledError]. With what it calls it is the
// one place that knows the stores' words; of a store behind gocloud there are only
// gocloud's codes (see cloud.meaning). An object is missing only where the store
// says so of an object: a plain 404 may come from anything on the way.
func meaning(err error) error {
	a, ok := answerOf(err)
	if !ok {
		return err
	}
	switch {
	case a.throttles():
		return &ThrottledError{After: retryAfter(a.header, time.Now()), Err: err}
	case a.code == "NoSuchKey", a.code == string(bloberror.BlobNotFound):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case a.code == "NoSuchBucket", a.code == string(bloberror.ContainerNotFound):
		return fmt.Errorf("%w: %w", errNoBucket, err)
	case a.status == http.StatusPreconditionFailed, a.code == string(bloberror.BlobAlreadyExists):
		// Not S3's 409 ConditionalRequestConflict: the other request may fail.
		return fmt.Errorf("%w: %w", fs.ErrExist, err)
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden, a.code == "ExpiredToken":
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	}
	return err
}

// throttles reports whether the store asks for fewer requests. S3 says SlowDown
// with 503, Azure ServerBusy with 503 or OperationTimedOut with 500, GCS 429, or
// 403 with a reason.
func (a answer) throttles() bool {
	switch a.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	switch a.code {
	case string(bloberror.OperationTimedOut), string(bloberror.ServerBusy), "rateLimitExceeded", "userRateLimitExceeded":
		return true
	}
	_, s3 := retry.DefaultThrottleErrorCodes[a.code]
	return s3
}

// retryAfter reads the header of that name, which has seconds or a date; 0 if
// there is none, or none that is to come.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}
