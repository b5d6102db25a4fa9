package logs

import "time"

const second = int64(1_000_000) // microseconds

// civil gives the microseconds since 1970 of a date of the proleptic Gregorian calendar (days from civil, H. Hinnant).
func civil(year, month, day, hour, minute, sec int, micro int64) int64 {
	if month <= 2 {
		year--
	}
	era := year / 400
	yoe := year - era*400
	m := month + 9
	if month > 2 {
		m = month - 3
	}
	doy := (153*m+2)/5 + day - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	days := int64(era*146097+doe) - 719468
	return ((days*24+int64(hour))*60+int64(minute))*60*second + int64(sec)*second + micro
}

// two reads two digits, the first of which may be a blank.
func two(s string) (int, bool) {
	a, b := s[0], s[1]
	if b < '0' || b > '9' {
		return 0, false
	}
	if a == ' ' {
		return int(b - '0'), true
	}
	if a < '0' || a > '9' {
		return 0, false
	}
	return int(a-'0')*10 + int(b-'0'), true
}

// month reads an English month of three letters.
func month(s string) int {
	switch s[:3] {
	case "Jan":
		return 1
	case "Feb":
		return 2
	case "Mar":
		return 3
	case "Apr":
		return 4
	case "May":
		return 5
	case "Jun":
		return 6
	case "Jul":
		return 7
	case "Aug":
		return 8
	case "Sep":
		return 9
	case "Oct":
		return 10
	case "Nov":
		return 11
	case "Dec":
		return 12
	}
	return 0
}

// clock reads "15:04:05" and says how far it read.
func clock(s string) (h, m, sec int, ok bool) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return 0, 0, 0, false
	}
	h, a := two(s)
	m, b := two(s[3:])
	sec, c := two(s[6:])
	return h, m, sec, a && b && c && h < 24 && m < 60 && sec <= 60
}

// fraction reads ".123456" or ",123" and says how many bytes it took.
func fraction(s string) (micro int64, n int) {
	if len(s) < 2 || s[0] != '.' && s[0] != ',' {
		return 0, 0
	}
	scale := int64(100_000)
	for n = 1; n < len(s) && s[n] >= '0' && s[n] <= '9'; n++ {
		micro += int64(s[n]-'0') * scale
		scale /= 10
	}
	if n == 1 {
		return 0, 0
	}
	return micro, n
}

// zone reads "Z", "+02:00", "-0700" and gives seconds east of UTC.
func zone(s string) (east, n int) {
	if s == "" {
		return 0, 0
	}
	if s[0] == 'Z' {
		return 0, 1
	}
	if s[0] != '+' && s[0] != '-' || len(s) < 5 {
		return 0, 0
	}
	h, ok := two(s[1:])
	rest, n := s[3:], 3
	if rest[0] == ':' {
		rest, n = rest[1:], 4
	}
	if len(rest) < 2 || !ok {
		return 0, 0
	}
	m, ok := two(rest)
	if !ok || h > 15 || m > 59 {
		return 0, 0
	}
	east = (h*60 + m) * 60
	if s[0] == '-' {
		east = -east
	}
	return east, n + 2
}

// iso reads "2026-11-07T06:13:45.123456-07:00", with a blank in place of T, and without fraction or zone; without a zone the parser's zone is meant.
func (p *Parser) iso(s string) (t int64, n int) {
	if len(s) < 19 || s[4] != '-' || s[7] != '-' || s[10] != 'T' && s[10] != ' ' {
		return 0, 0
	}
	y1, a := two(s)
	y2, b := two(s[2:])
	mo, c := two(s[5:])
	d, e := two(s[8:])
	h, mi, sec, ok := clock(s[11:])
	if !a || !b || !c || !e || !ok || mo < 1 || mo > 12 || d < 1 || d > 31 {
		return 0, 0
	}
	micro, f := fraction(s[19:])
	n = 19 + f
	t = civil(y1*100+y2, mo, d, h, mi, sec, micro)
	if east, z := zone(s[n:]); z > 0 {
		return t - int64(east)*second, n + z
	}
	return p.local(t), n
}

// bsd reads "Nov  7 06:13:45", also with a year in front of the clock ("Nov 07 2026 06:13:45") and fractions ("short-precise" of journalctl).
func (p *Parser) bsd(s string) (t int64, n int) {
	if len(s) < 14 || s[3] != ' ' {
		return 0, 0
	}
	mo := month(s)
	if mo == 0 {
		return 0, 0
	}
	n = 4
	if s[n] == ' ' {
		n++
	}
	d := 0
	for ; n < 6 && s[n] >= '0' && s[n] <= '9'; n++ {
		d = d*10 + int(s[n]-'0')
	}
	if d < 1 || d > 31 || s[n] != ' ' {
		return 0, 0
	}
	n++
	year := 0
	if len(s) >= n+5 && s[n+4] == ' ' {
		y1, a := two(s[n:])
		y2, b := two(s[n+2:])
		if a && b {
			year = y1*100 + y2
			n += 5
		}
	}
	h, mi, sec, ok := clock(s[n:])
	if !ok {
		return 0, 0
	}
	n += 8
	micro, f := fraction(s[n:])
	n += f
	if year == 0 {
		year = p.year(mo)
	}
	return p.local(civil(year, mo, d, h, mi, sec, micro)), n
}

// year gives the year of a stamp that has none. Lines come in time's order, so December after which January comes ends a year; a little disorder
// around the turn of the year must not add another. What the first line's year is, the source knows (its file's time of change); see Parser.SetYear.
func (p *Parser) year(mo int) int {
	if p.years.month == 0 {
		p.years.month = mo
	}
	switch step := mo - p.years.month; {
	case step <= -10: // December to January or February
		p.years.now++
		p.years.month = mo
	case step >= 10: // a straggler of the old year
		return p.years.now - 1
	case step > 0 || step < 0:
		p.years.month = mo
	}
	return p.years.now
}

// local turns a wall clock without zone into UTC. The hour that autumn repeats is read as the earlier one.
func (p *Parser) local(t int64) int64 {
	if p.zone == nil || p.zone == time.UTC {
		return t
	}
	if t >= p.offset.from && t < p.offset.until {
		return t - p.offset.east
	}
	when := time.UnixMicro(t).UTC()
	there := time.Date(when.Year(), when.Month(), when.Day(), when.Hour(), when.Minute(), when.Second(), when.Nanosecond(), p.zone)
	_, east := there.Zone()
	p.offset.from = t - t%(15*60*second)
	p.offset.until = p.offset.from + 15*60*second // zones change at quarters of an hour
	p.offset.east = int64(east) * second
	return t - p.offset.east
}

// clf reads "07/Nov/2026:06:13:45 +0000" of access logs, also with a fraction, as HAProxy writes, and then without zone.
func (p *Parser) clf(s string) (t int64, n int) {
	if len(s) < 20 || s[2] != '/' || s[6] != '/' || s[11] != ':' {
		return 0, 0
	}
	d, a := two(s)
	mo := month(s[3:])
	y1, b := two(s[7:])
	y2, c := two(s[9:])
	h, mi, sec, ok := clock(s[12:])
	if !a || !b || !c || !ok || mo == 0 || d < 1 || d > 31 {
		return 0, 0
	}
	micro, f := fraction(s[20:])
	n = 20 + f
	t = civil(y1*100+y2, mo, d, h, mi, sec, micro)
	if n+1 < len(s) && s[n] == ' ' {
		if east, z := zone(s[n+1:]); z > 0 {
			return t - int64(east)*second, n + 1 + z
		}
	}
	return p.local(t), n
}
