package ggml

import (
	"strings"
	"sync"
	"unicode"

	"github.com/ebitengine/purego"
)

// The levels of the library's log.
const (
	levelDebug    = 1
	levelInfo     = 2
	levelWarn     = 3
	levelError    = 4
	levelContinue = 5
)

// maxLine is where a line of the log is cut: model files name things at will.
const maxLine = 400

// libraryLog passes the library's lines on. It is called by the library's threads.
type libraryLog struct {
	mu      sync.Mutex
	out     func(string)
	least   int    // the level from which lines are passed on
	level   int    // of the line being put together
	line    string // of which no end has come yet
	lastErr string // the last error's text, for the error that follows
}

// install makes l the receiver of the library's log.
func (l *libraryLog) install(lib *library) {
	lib.setLog(purego.NewCallback(func(level uint32, text *byte, _ uintptr) {
		l.add(int(level), text)
	}), 0)
}

func (l *libraryLog) add(level int, p *byte) {
	if p != nil {
		l.write(level, cString(p, 4*maxLine))
	}
}

// write takes a piece of the log: lines come whole or in parts.
func (l *libraryLog) write(level int, piece string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if level != levelContinue {
		l.level = level
	}
	l.line += piece
	for {
		line, rest, found := strings.Cut(l.line, "\n")
		if !found {
			break
		}
		l.line = rest
		l.emit(clean(line))
	}
	if len(l.line) > 4*maxLine {
		l.emit(clean(l.line))
		l.line = ""
	}
}

func (l *libraryLog) emit(line string) {
	if line == "" {
		return
	}
	if l.level >= levelError {
		l.lastErr = line
	}
	// What a GPU was granted for is always told.
	offloaded := strings.Contains(line, ": offloaded ") && !strings.Contains(line, ": offloaded 0/")
	if l.level >= l.least || offloaded {
		l.out(line)
	}
}

// setLevel sets from which level on lines are passed on.
func (l *libraryLog) setLevel(o runOptions) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.least = levelError
	if o.log {
		l.least = levelInfo
	}
	if o.debugLog {
		l.least = levelDebug
	}
}

// takeError gives the text of the last error since it was taken before.
func (l *libraryLog) takeError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.lastErr
	l.lastErr = ""
	if line == "" {
		return "no reason given"
	}
	return line
}

// clean makes a line of the library harmless for a terminal: it may quote a file.
func clean(line string) string {
	line = strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.TrimRight(line, "\r\n "))
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "…"
	}
	return line
}
