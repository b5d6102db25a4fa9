package catalog

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCiphers holds what is said of lists against what OpenSSL makes of them: whether any cipher with CBC is left.
func TestCiphers(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not here, so nobody else reads the lists; install the package openssl")
	}
	for _, list := range []string{
		"DEFAULT", "HIGH:!aNULL", "HIGH:!aNULL:!MD5", "ECDHE+AESGCM", "ECDHE+AESGCM:ECDHE+CHACHA20", "EECDH+AES", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "AES128-SHA",
		"HIGH:!aNULL:!SHA1:!SHA256:!SHA384", "HIGH:!aNULL:!SHA1", "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-SHA384", "DHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-CCM",
		"ECDHE+AESGCM:!AES128-SHA", "AESGCM:-AES128-SHA", "ECDHE:ECDHE+AESGCM", "ECDHE-RSA-AES128-GCM-SHA256,ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:!ECDHE-RSA-AES128-SHA",
	} {
		out, err := exec.Command(openssl, "ciphers", "-v", "-s", "-tls1_2", list).Output()
		if err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		want := false
		for line := range strings.Lines(string(out)) {
			want = want || !strings.Contains(line, "Mac=AEAD")
		}
		broken, cbc, unknown := weakCiphers(list)
		if got := len(cbc) > 0; got != want || len(broken) > 0 || len(unknown) > 0 {
			t.Errorf("%s: got CBC %q, broken %q, unknown %q; OpenSSL leaves CBC: %v", list, cbc, broken, unknown, want)
		}
	}
	// What OpenSSL of today has not built in at all.
	for _, list := range []string{"RC4-SHA", "ECDHE+RC4", "DES-CBC3-SHA", "EDH-RSA-DES-CBC3-SHA", "NULL-SHA", "eNULL", "aNULL", "EXP-RC4-MD5", "EXPORT40", "ADH-AES128-SHA", "ALL", "MEDIUM", "3DES", "LOW"} {
		if broken, _, _ := weakCiphers(list); len(broken) == 0 {
			t.Errorf("%s is said not to be broken", list)
		}
	}
	for _, list := range []string{"ALL:!aNULL", "MEDIUM:!RC4:!3DES", "HIGH:!RC4:!3DES"} {
		if broken, _, _ := weakCiphers(list); len(broken) > 0 {
			t.Errorf("%s is said to have %q", list, broken)
		}
	}
}
