package blobstore

import "net/url"

// Redact returns a bucket's URL as it may be shown: without passwords and keys,
// as [Bucket.URL] gives it. Of what is no URL it shows nothing.
func Redact(rawURL string) string {
	if rawURL == "" {
		return ""
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return "(not a URL)"
	}
	return show(u)
}
