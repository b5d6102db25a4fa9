// Package units lists every detection that is shipped, as data. One file for each kind of log; the definitions, thresholds and traps are those of the
// reference of detections, sections 2 to 6, and each unit says where it comes from. A test refuses a unit without samples that must and must not fire.
package units

import (
	"time"

	. "github.com/metalward/metalward/internal/detect"
)

// All are the units, in the order in which they are listed.
var Every = slicesOf(firewall, web, maas, ssh, metalward)

func slicesOf(lists ...[]Unit) []Unit {
	var all []Unit
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// Sources of definitions.
const (
	guide     = "Canonical, How to enhance MAAS security, section Logging"
	reference = "Metalward's reference of detections"
)

func is(f Field, v ...string) Cond  { return If(f, Is, v...) }
func has(f Field, v ...string) Cond { return If(f, Has, v...) }
func known(f Field) Cond            { return If(f, Present) }
