package catalog

import "strings"

// weakCiphers takes a list of ciphers of OpenSSL apart: what it lets in that is broken, what has CBC, and what is not known. A word that is
// taken out with "!" anywhere, or with "-" behind it, is out. Source: openssl-ciphers(1); RFC 9325, section 4.1, RFC 7457.
func weakCiphers(list string) (broken, cbc, unknown []string) {
	words := strings.FieldsFunc(strings.Trim(list, `"' `), func(r rune) bool { return r == ':' || r == ',' || r == ' ' || r == ';' })
	out := map[string]bool{}
	for _, w := range words {
		if name, ok := strings.CutPrefix(w, "!"); ok {
			out[strings.ToUpper(name)] = true
		}
	}
	// The MACs of ciphers with CBC: without them, none is left.
	noCBC := (out["SHA"] || out["SHA1"]) && out["SHA256"] && out["SHA384"]
	for _, w := range words {
		name := strings.ToUpper(strings.TrimPrefix(w, "+"))
		switch {
		case strings.HasPrefix(w, "!") || strings.HasPrefix(w, "-") || strings.HasPrefix(w, "@") || strings.HasPrefix(w, "+") || out[name]:
		case strings.HasPrefix(name, "PROFILE="):
			unknown = append(unknown, w)
		case brokenCipher(name, out):
			broken = append(broken, w)
		case strings.Contains(name, "GCM") || strings.Contains(name, "CHACHA20") || strings.Contains(name, "CCM"):
		case strings.HasPrefix(name, "TLS_"): // of TLS 1.3, all of which are sound
		case cipherGroup(name) && noCBC:
		default:
			cbc = append(cbc, w)
		}
	}
	return broken, cbc, unknown
}

// cipherGroup reports whether a word stands for several.
func cipherGroup(name string) bool { return !strings.Contains(name, "-") }

func brokenCipher(name string, out map[string]bool) bool {
	for _, bad := range []string{"RC4", "3DES", "DES", "NULL", "EXP", "MD5", "ADH", "AECDH", "RC2", "LOW"} {
		for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '-' || r == '+' }) {
			if !out[bad] && (part == bad || part == "E"+bad || part == "A"+bad || bad == "EXP" && strings.HasPrefix(part, "EXP")) {
				return true
			}
		}
	}
	// Groups that have ciphers without a certificate, or with RC4 where it is built in.
	return (name == "ALL" || name == "COMPLEMENTOFALL" || name == "COMPLEMENTOFDEFAULT") && !out["ANULL"] || name == "MEDIUM" && !out["RC4"]
}
