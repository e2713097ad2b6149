package hostfuncs

import (
	"math/rand/v2"
	"testing"
)

// TestTable compares the table with a plain search for the lowest free number.
func TestTable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	tab := table{max: 300}
	open := map[uint32]*entry{}
	for range 20000 {
		if rnd.IntN(2) == 0 {
			fd := uint32(rnd.IntN(tab.max))
			if e, errno := tab.get(fd); errno == errnoSuccess {
				if open[fd] != e {
					t.Fatalf("fd %d is another entry", fd)
				}
				tab.take(fd)
				delete(open, fd)
			} else if open[fd] != nil {
				t.Fatalf("fd %d is lost", fd)
			}
			continue
		}
		want := uint32(0)
		for open[want] != nil {
			want++
		}
		e := &entry{}
		fd, errno := tab.insert(e)
		switch {
		case want == uint32(tab.max):
			if errno != errnoMfile {
				t.Fatalf("a full table gives %d, %s", fd, errno)
			}
		case fd != want || errno != errnoSuccess:
			t.Fatalf("got fd %d %s, want %d", fd, errno, want)
		default:
			open[fd] = e
		}
	}
	if _, errno := tab.get(1 << 31); errno != errnoBadf {
		t.Errorf("a number far outside: %s", errno)
	}
}

// BenchmarkTableInsert closes and opens a low and a high number of a table with
// ten thousand descriptors.
func BenchmarkTableInsert(b *testing.B) {
	tab := table{max: 1 << 20}
	for range 10000 {
		tab.insert(&entry{})
	}
	e := &entry{}
	b.ReportAllocs()
	for b.Loop() {
		tab.take(5)
		tab.insert(e)
		fd, _ := tab.insert(e)
		tab.take(fd)
	}
}
