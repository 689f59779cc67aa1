package tamper

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
)

// kindOf tells what a request is about.
func kindOf(r *http.Request) Kind {
	switch r.Method {
	case http.MethodPut, http.MethodPost:
		return Create
	case http.MethodDelete:
		return Delete
	}
	q := r.URL.Query()
	if q.Has("list-type") || q.Get("comp") == "list" || provider(r) == gcs && strings.HasSuffix(r.URL.Path, "/o") {
		return List
	}
	return Read
}

// subject is all that the URL says of the key: of a create at GCS it is a
// parameter, of a listing it is the prefix.
func subject(r *http.Request) string {
	q := r.URL.Query()
	return r.URL.Path + "\n" + q.Get("name") + "\n" + q.Get("prefix")
}

// dialect is whose words a client understands.
type dialect int

const (
	s3 dialect = iota
	azure
	gcs
)

// provider tells by the request whose client it comes from.
func provider(r *http.Request) dialect {
	switch {
	case r.Header.Get("X-Ms-Version") != "":
		return azure
	case r.Header.Get("X-Goog-Api-Client") != "" || strings.Contains(r.URL.Path, "/storage/v1/"):
		return gcs
	}
	return s3
}

// codes are what S3, Azure and GCS call a status that they answer a create or a
// read with.
var codes = map[int][3]string{
	http.StatusBadRequest:          {"ExpiredToken", "InvalidInput", "invalid"},
	http.StatusUnauthorized:        {"InvalidToken", "InvalidAuthenticationInfo", "authError"},
	http.StatusForbidden:           {"AccessDenied", "AuthorizationFailure", "forbidden"},
	http.StatusNotFound:            {"NoSuchBucket", "ContainerNotFound", "notFound"},
	http.StatusConflict:            {"ConditionalRequestConflict", "BlobAlreadyExists", "conflict"},
	http.StatusPreconditionFailed:  {"PreconditionFailed", "ConditionNotMet", "conditionNotMet"},
	http.StatusTooManyRequests:     {"SlowDown", "ServerBusy", "rateLimitExceeded"},
	http.StatusInternalServerError: {"InternalError", "InternalError", "internalError"},
	http.StatusServiceUnavailable:  {"SlowDown", "ServerBusy", "backendError"},
}

// refuse answers as the provider would whose client asks.
func refuse(w http.ResponseWriter, r *http.Request, f Fault) {
	who := provider(r)
	code := cmp.Or(f.Code, codes[f.Status][who], http.StatusText(f.Status))
	const message = "by a proxy that tampers with requests"
	h := w.Header()
	if f.RetryAfter != "" {
		h.Set("Retry-After", f.RetryAfter)
	}
	var body string
	switch who {
	case gcs:
		h.Set("Content-Type", "application/json; charset=UTF-8")
		body = fmt.Sprintf(`{"error":{"code":%d,"message":%q,"errors":[{"message":%q,"domain":"global","reason":%q}]}}`, f.Status, message, message, code)
	case azure:
		h.Set("X-Ms-Error-Code", code)
		fallthrough
	default:
		h.Set("Content-Type", "application/xml")
		body = fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><RequestId>tamper</RequestId></Error>`, code, message)
	}
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		_, _ = fmt.Fprint(w, body) // a client that is gone won't miss it
	}
}
