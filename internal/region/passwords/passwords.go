// Package passwords tells new passwords that are easy to guess: common ones and what is made of them, the user's
// own name, and those of a file of breached passwords. It asks nobody: everything is on this host.
//
// There are no rules of composition. Source: NIST SP 800-63B section 5.1.1.2.
package passwords

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"unicode"

	"github.com/nbutton23/zxcvbn-go/data"

	"github.com/metalward/metalward/internal/fault"
)

// minBits is how hard to guess a new password must be, as the logarithm to base 2 of the guesses that someone
// needs who tries what is common first. The throttle lets through some hundred a day.
const minBits = 24

// maxLooked bounds the work, which grows with the square of the length: of a longer password the first
// characters are looked at.
const maxLooked = 64

// Checker judges new passwords. The zero value works, without a list of breached passwords.
type Checker struct {
	// Breached is the path of a file of SHA-1 hashes; see breached.go. Empty for none.
	Breached string
}

// Check refuses a password that is easy to guess, or that is the user's own name or e-mail address. own are
// such words. Kinds: Invalid without a field; Unavailable when the file of breached passwords cannot be read.
func (c Checker) Check(password string, own ...string) error {
	words := parts(own)
	if mostly(password, words) {
		return fault.New(fault.Invalid, "Do not use your name or e-mail address as the password.")
	}
	if bits(password, words) < minBits {
		return fault.New(fault.Invalid, "This password is easy to guess: it is made of common words, names or patterns. Use more words, or let a password manager choose.")
	}
	if c.Breached == "" {
		return nil
	}
	found, err := inFile(c.Breached, password)
	if err != nil {
		return fmt.Errorf("%w: %w", fault.New(fault.Unavailable, "The list of breached passwords cannot be read; an administrator must look."), err)
	}
	if found {
		return fault.New(fault.Invalid, "This password is in a list of breached passwords: attackers try it. Choose another one.")
	}
	return nil
}

// parts are the words of names and addresses, in lower case, without short ones.
func parts(own []string) (words []string) {
	for _, text := range own {
		text = strings.ToLower(text)
		for _, w := range append(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), text) {
			if len(w) >= 3 {
				words = append(words, w)
			}
		}
	}
	return words
}

// mostly reports whether little remains of a password without some words.
func mostly(password string, words []string) bool {
	whole := strings.ToLower(password)
	rest := whole
	for i := len(words) - 1; i >= 0; i-- { // whole addresses before their parts
		rest = strings.ReplaceAll(rest, words[i], "")
	}
	return rest != whole && len([]rune(rest)) < 8
}

// ranks gives the place of each common word: passwords, English words, names. Read when first needed.
var ranks = sync.OnceValue(func() map[string]int {
	ranks := make(map[string]int, 90_000)
	for _, name := range []string{"Passwords", "English", "MaleNames", "FemaleNames", "Surnames"} {
		var list struct{ List []string }
		if err := json.Unmarshal(data.MustAsset("data/"+name+".json"), &list); err != nil {
			panic("cannot read the embedded list of " + name + ": " + err.Error()) // it is part of the program
		}
		for i, w := range list.List {
			if old, ok := ranks[w]; !ok || i+1 < old {
				ranks[w] = i + 1
			}
		}
	}
	return ranks
})

// runs are characters that follow each other in the alphabet, in numbers, and on a keyboard.
var runs = []string{"abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertz", "azerty", "1qaz2wsx3edc4rfv5tgb", "!@#$%^&*()"}

// leet undoes the usual disguises of letters.
var leet = strings.NewReplacer("@", "a", "4", "a", "8", "b", "3", "e", "1", "i", "!", "i", "0", "o", "5", "s", "$", "s", "7", "t", "+", "t")

const longestWord = 24

// bits estimates how hard a password is to guess: the cheapest way to put it together of common words, the
// user's own, repetitions, runs and single characters. The idea is zxcvbn's. Source: Wheeler, zxcvbn,
// USENIX Security 2016.
func bits(password string, own []string) float64 {
	text := []rune(password)
	if len(text) > maxLooked {
		text = text[:maxLooked]
	}
	lower := []rune(strings.ToLower(string(text)))
	if len(lower) != len(text) { // a letter that changes its length with its case
		lower = text
	}
	cost := make([]float64, len(text)+1)
	for end := 1; end <= len(text); end++ {
		cost[end] = cost[end-1] + single(text[end-1])
		for begin := end - 1; begin >= 0; begin-- {
			part := string(lower[begin:end])
			best := math.Inf(1)
			if n := end - begin; n >= 3 && n <= longestWord {
				best = min(word(part, own), run(part))
				if part != string(text[begin:end]) {
					best++ // capitals
				}
			}
			if unit := repeated(lower[begin:end]); unit > 0 {
				again := cost[begin+unit] - cost[begin] // exact at the beginning, where it matters most
				best = min(best, max(again, single(text[begin]))+math.Log2(float64(end-begin)/float64(unit)))
			}
			cost[end] = min(cost[end], cost[begin]+best)
		}
	}
	return cost[len(text)]
}

// single is the cost of a character by itself.
func single(r rune) float64 {
	switch {
	case unicode.IsDigit(r):
		return math.Log2(10)
	case unicode.IsLower(r):
		return math.Log2(26)
	case unicode.IsUpper(r):
		return math.Log2(52)
	}
	return math.Log2(33)
}

// word is the cost of a common word or one of the user's own, plain or in disguise.
func word(part string, own []string) float64 {
	plain := leet.Replace(part)
	best := math.Inf(1)
	for _, w := range own {
		if w == part || w == plain {
			best = 1
		}
	}
	for i, w := range []string{part, plain} {
		if rank, ok := ranks()[w]; ok {
			best = min(best, math.Log2(float64(rank))+1+float64(i))
		}
	}
	return best
}

// run is the cost of a part of a run, forwards or backwards: where it begins, how long it is, which way.
func run(part string) float64 {
	for _, r := range runs {
		if strings.Contains(r, part) || strings.Contains(r, reversed(part)) {
			return math.Log2(float64(len(runs)*26)) + 1
		}
	}
	return math.Inf(1)
}

func reversed(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

// repeated returns the length of the shortest unit that a text repeats, the last time perhaps in part; 0 when it
// repeats nothing.
func repeated(text []rune) int {
	for unit := 1; unit <= len(text)/2; unit++ {
		if string(text[unit:]) == string(text[:len(text)-unit]) {
			return unit
		}
	}
	return 0
}
