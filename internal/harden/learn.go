package harden

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
)

// maxLearned is how many items a trait may have.
const maxLearned = 20_000

// Learn writes down what a host has, for check to compare others with, or itself later. It returns what could not be found out besides.
// Kinds: those of Run.
func Learn(o Options) (text []byte, unknown []string, err error) {
	if err := o.named(); err != nil {
		return nil, nil, err
	}
	facts, err := open(o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = facts.Close() }()
	products, err := facts.Products()
	if len(products) == 0 {
		return nil, nil, fault.New(fault.NotFound, "Neither MAAS (snap or packages) nor Metalward was found below %s: there is nothing to learn from. %s", guard.Show(o.Root), shown(err))
	}
	l := guard.Learned{Format: 1, Time: o.Now.UTC(), Traits: map[guard.Trait][]string{}}
	for _, t := range guard.Traits {
		list, err := catalog.Trait(facts, products[0].Product, t)
		if err == nil && len(list) > maxLearned {
			err = fmt.Errorf("there are more than %d items", maxLearned)
		}
		if err != nil {
			unknown = append(unknown, fmt.Sprintf("%s: %s", t, guard.Show(err.Error())))
			continue
		}
		l.Traits[t] = some(list)
	}
	text, err = json.MarshalIndent(l, "", "  ")
	return append(text, '\n'), unknown, err
}

func shown(err error) string {
	if err == nil {
		return ""
	}
	return guard.Show(err.Error())
}

// ReadLearned reads what Learn wrote. Kinds: Invalid.
func ReadLearned(text []byte) (*guard.Learned, error) {
	l := &guard.Learned{}
	bad := func(format string, args ...any) (*guard.Learned, error) {
		return nil, fault.New(fault.Invalid, "against: The file cannot be used: %s.", guard.Show(fmt.Sprintf(format, args...)))
	}
	if err := strict(text, l); err != nil {
		return bad("%v", err)
	}
	if l.Format != 1 {
		return bad("its format is %d, and this program reads 1: write it anew with metalward harden learn", l.Format)
	}
	if l.Time.IsZero() {
		return bad("it does not say of when it is")
	}
	for t, list := range l.Traits {
		if !slices.Contains(guard.Traits, t) {
			return bad("there is no trait %q", t)
		}
		if len(list) > maxLearned {
			return bad("%s has more than %d items", t, maxLearned)
		}
		for _, item := range list {
			if item == "" || guard.Show(item) != item {
				return bad("%s has an item that cannot be printed", t)
			}
		}
	}
	return l, nil
}
