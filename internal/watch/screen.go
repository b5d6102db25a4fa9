package watch

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/metalward/metalward/internal/detect"
)

// Sequences of terminals. Source: ECMA-48, and xterm's control sequences for the alternate screen.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeScreen  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// Screen is a live watch on a terminal: what is open, the worst first, and what was said last.
type Screen struct {
	Out    io.Writer
	Size   func() (columns, rows int)
	Colour bool
	said   []string
}

// keptWords is how many of the last messages a screen shows.
const keptWords = 5

// Open takes the screen; Close gives it back as it was.
func (s *Screen) Open() error {
	_, err := io.WriteString(s.Out, enterScreen)
	return err
}

// Close gives the screen back.
func (s *Screen) Close() error {
	_, err := io.WriteString(s.Out, leaveScreen)
	return err
}

// Say shows a message, which has to be safe to print, with the next Draw.
func (s *Screen) Say(text string) {
	s.said = append(s.said, text)
	s.said = s.said[max(0, len(s.said)-keptWords):]
}

// Draw draws what is on the desk.
func (s *Screen) Draw(l *DeskList, now time.Time) error {
	columns, rows := s.Size()
	columns, rows = max(columns, 20), max(rows, keptWords+4)
	counts, open := map[detect.Severity]int{}, 0
	for i := range l.Alerts {
		if l.Alerts[i].State != DeskResolved {
			counts[l.Alerts[i].Severity]++
			open++
		}
	}
	var b strings.Builder
	line := func(mark, text string) {
		if !utf8.ValidString(text) {
			text = strings.ToValidUTF8(text, "?")
		}
		if n := utf8.RuneCountInString(text); n > columns {
			text = string([]rune(text)[:columns-1]) + "…"
		}
		if s.Colour && mark != "" {
			text = mark + text + "\x1b[0m"
		}
		b.WriteString(text + clearLine + "\r\n")
	}
	b.WriteString(homeScreen)
	line("\x1b[1m", fmt.Sprintf("metalward watch  %s  %d alerts: %d high, %d medium, %d low, %d info", now.Format("15:04:05"), open, counts[detect.High], counts[detect.Medium], counts[detect.Low], counts[detect.Info]))
	line("\x1b[2m", fmt.Sprintf("%-7s %-8s %8s  %-32s %s", "", "LAST", "EVENTS", "DETECTION", "ABOUT"))
	room := rows - 3 - len(s.said)
	for i := range l.Alerts {
		a := &l.Alerts[i]
		if room == 0 || a.State == DeskResolved { // they are in order
			break
		}
		room--
		note := ""
		if a.State == DeskAcknowledged {
			note = " (acknowledged)"
		}
		if l.silenced(a.Subject, now) {
			note += " (silenced)"
		}
		last := a.Last.In(now.Location())
		when := last.Format("15:04:05")
		if now.Sub(last) > 20*time.Hour {
			when = last.Format("02 Jan")
		}
		line(colours[a.Severity], fmt.Sprintf("%-7s %-8s %8d  %-32s %s%s", strings.ToUpper(a.Severity.String()), when, a.Count, a.Unit, a.about(), note))
	}
	for ; room > 0; room-- {
		line("", "")
	}
	for _, text := range s.said {
		line("\x1b[2m", text)
	}
	b.WriteString(clearBelow)
	_, err := io.WriteString(s.Out, b.String())
	return err
}
