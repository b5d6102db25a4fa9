package identity

import (
	"net/url"
	"testing"

	"github.com/metalward/metalward/internal/fault"
)

// FuzzParseOAuth accepts only whole signatures and refuses the rest with a kind that blames the caller.
func FuzzParseOAuth(f *testing.F) {
	const good = `oauth_consumer_key="c",oauth_token="t",oauth_signature="%26s",oauth_signature_method="PLAINTEXT",oauth_timestamp="1",oauth_nonce="n"`
	for _, s := range []string{"", "OAuth", "OAuth ", "OAuth " + good, `oauth realm="",` + good, "OAuth " + good + ",", `OAuth oauth_token="%zz"`, "Basic x", `OAuth =`, `OAuth a=",b="`} {
		f.Add(s, "")
	}
	f.Add("", "oauth_consumer_key=c&oauth_token=t&oauth_signature=%26s&oauth_signature_method=PLAINTEXT&oauth_timestamp=1&oauth_nonce=n")
	f.Add("", "oauth_token=a&oauth_token=b")
	f.Fuzz(func(t *testing.T, header, query string) {
		values, _ := url.ParseQuery(query)
		o, ok, err := parseOAuth(header, values)
		switch {
		case err != nil && !ok:
			t.Errorf("an error without credentials: %v", err)
		case err != nil && !fault.Is(err, fault.Unauthenticated) && !fault.Is(err, fault.Invalid):
			t.Errorf("got %v, want Unauthenticated or Invalid", err)
		case err != nil && o != (oauth{}):
			t.Errorf("a refused signature gives %+v", o)
		case err == nil && ok && (o.consumer == "" || o.token == "" || o.nonce == "" || len(o.nonce) > 128):
			t.Errorf("an incomplete signature passes: %+v", o)
		case !ok && o != (oauth{}):
			t.Errorf("no credentials give %+v", o)
		}
	})
}
