// Benchnet measures a server in C as a module in a runw container beside the same source as a
// native program in one: requests, processor time and latency under wrk, a large transfer,
// the memory of connections, idle connections beside busy ones, and single calls. Rounds of
// both alternate, and figures are medians of them, ratios medians of each round's ratio.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/guests"
	"github.com/runw/runw/integration/machine"
)

func main() {
	b := &bench{out: os.Stdout, connections: []int{1, 32, 256, 1000}}
	flag.IntVar(&b.rounds, "rounds", 9, "measured rounds of each row")
	flag.DurationVar(&b.seconds, "time", 2*time.Second, "of wrk in a round")
	flag.StringVar(&b.engine, "engine", os.Getenv("RUNW_ENGINE"), "the engine, runw's choice if empty")
	flag.StringVar(&b.runw, "runw", "", "the runtime, bin/runw if empty")
	flag.Func("connections", "of wrk in the rows of http, such as 1,32,256,1000", b.setConnections)
	only := flag.String("only", "", "one of http, transfer, memory, idle, calls")
	flag.Parse()
	if code, done := machine.Reexec(); done {
		os.Exit(code)
	}
	if err := b.run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "benchnet:", err)
		os.Exit(1)
	}
}

type bench struct {
	out     io.Writer
	rounds  int
	seconds time.Duration
	engine  string
	runw    string
	dir     string
	number  int
	summary []row
	// connections are those of each row of http.
	connections []int
}

func (b *bench) setConnections(list string) error {
	b.connections = nil
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		b.connections = append(b.connections, n)
	}
	return nil
}

// row is a figure of the last table.
type row struct {
	name string
	series
	// more says that more is better.
	more bool
}

func (b *bench) run(only string) (retErr error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	root, err := guests.Root()
	if err != nil {
		return err
	}
	if b.runw == "" {
		b.runw = filepath.Join(root, "bin", "runw")
	}
	if b.dir, err = os.MkdirTemp("", "runw-benchnet-"); err != nil {
		return err
	}
	undo, err := machine.Prepare(b.dir, false)
	if err != nil {
		return err
	}
	defer func() {
		undo()
		retErr = errors.Join(retErr, os.RemoveAll(b.dir))
	}()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	engine := b.engine
	if engine == "" {
		engine = "runw's choice"
	}
	fmt.Fprintf(b.out, "%s, %d cores, Linux %s, engine: %s, %d rounds of %v\n", time.Now().Format("2 Jan 2006"),
		runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]), engine, b.rounds, b.seconds)
	for _, part := range []struct {
		name string
		run  func() error
	}{{"http", b.http}, {"transfer", b.transfer}, {"memory", b.memory}, {"idle", b.idle}, {"calls", b.calls}} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return b.ratios()
}

// ratios repeats what a module has of the native program's, or of its own alone: the median of
// the rounds' ratios, that of the medians, and that of the best rounds, which the rest of the
// machine disturbs least.
func (b *bench) ratios() error {
	if len(b.summary) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nratio\tof the rounds\tof the medians\tof the best")
	for _, r := range b.summary {
		best := slices.Min[[]float64]
		if r.more {
			best = slices.Max[[]float64]
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\n", r.name, r.ratio(), median(r.wasm)/median(r.native), best(r.wasm)/best(r.native))
	}
	return table.Flush()
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// series are the rounds of one figure, of the module and of the native program.
type series struct{ wasm, native []float64 }

func (s *series) ratio() float64 {
	var list []float64
	for i := range s.wasm {
		list = append(list, s.wasm[i]/s.native[i])
	}
	return median(list)
}

func (s *series) String() string {
	return fmt.Sprintf("%.1f\t%.1f\t%.2f\t", median(s.wasm), median(s.native), s.ratio())
}

// both has the two servers of a comparison.
type both struct{ wasm, native *server }

func (b *bench) servers(guest string) (s both, close func() error, err error) {
	if s.wasm, err = b.serve(guest, true); err != nil {
		return s, nil, err
	}
	if s.native, err = b.serve(guest, false); err != nil {
		return s, nil, errors.Join(err, s.wasm.close())
	}
	return s, func() error { return errors.Join(s.wasm.close(), s.native.close()) }, nil
}

// each alternates which of the two comes first.
func (b *bench) each(s both, round func(*server) error) error {
	for i := range b.rounds {
		pair := []*server{s.wasm, s.native}
		if i%2 == 1 {
			slices.Reverse(pair)
		}
		for _, one := range pair {
			if err := round(one); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) http() (retErr error) {
	s, end, err := b.servers("http")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, end()) }()
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\nconnections\tfigure\tmodule\tnative\tratio\t")
	for _, n := range b.connections {
		var rate, cpu, p99 [2][]float64
		for _, one := range []*server{s.wasm, s.native} { // warm up
			if _, err := one.wrk(n, time.Second); err != nil {
				return err
			}
		}
		if err := b.each(s, func(one *server) error {
			load, err := one.wrk(n, b.seconds)
			if err != nil {
				return err
			}
			i := one.index()
			rate[i], cpu[i], p99[i] = append(rate[i], load.rate), append(cpu[i], load.cpu), append(p99[i], load.p99)
			return nil
		}); err != nil {
			return err
		}
		for i, r := range []row{
			{"requests/s", series{rate[0], rate[1]}, true}, {"server CPU us/request", series{cpu[0], cpu[1]}, false},
			{"p99 us", series{p99[0], p99[1]}, false},
		} {
			fmt.Fprintf(table, "%s\t%s\t%v\n", []string{strconv.Itoa(n), "", ""}[i], r.name, &r.series)
			r.name = fmt.Sprintf("%d connections: %s", n, r.name)
			b.summary = append(b.summary, r)
		}
	}
	return table.Flush()
}

// transfer moves a gigabyte in both directions.
func (b *bench) transfer() (retErr error) {
	s, end, err := b.servers("http")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, end()) }()
	const size = 1 << 30
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\n1 GB, MB/s\tmodule\tnative\tratio\t")
	for _, way := range []struct {
		name string
		move func(*server) (time.Duration, error)
	}{
		{"from the server", func(one *server) (time.Duration, error) { return one.download(size) }},
		{"to the server", func(one *server) (time.Duration, error) { return one.upload(size) }},
	} {
		var speed [2][]float64
		if err := b.each(s, func(one *server) error {
			took, err := way.move(one)
			i := one.index()
			speed[i] = append(speed[i], size/1e6/took.Seconds())
			return err
		}); err != nil {
			return err
		}
		r := row{"1 GB " + way.name + ": MB/s", series{speed[0], speed[1]}, true}
		fmt.Fprintf(table, "%s\t%v\n", way.name, &r.series)
		b.summary = append(b.summary, r)
	}
	return table.Flush()
}

// memory is what a thousand idle connections cost the server's process.
func (b *bench) memory() (retErr error) {
	s, end, err := b.servers("http")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, end()) }()
	const n = 1000
	fmt.Fprintf(b.out, "\nmemory of %d idle connections, kB of the process\n", n)
	for _, one := range []*server{s.wasm, s.native} {
		before, err := one.anonymous()
		if err != nil {
			return err
		}
		conns, err := one.idle(n)
		if err != nil {
			return err
		}
		after, err := one.anonymous()
		for _, conn := range conns {
			conn.Close()
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(b.out, "  %s: %.0f\n", one.title, after-before)
	}
	return nil
}

// idle is the latency of a hundred busy connections, alone and beside ten thousand that say
// nothing.
func (b *bench) idle() (retErr error) {
	const idle, busy = 10000, 100
	var servers [2]*server
	for i := range servers {
		one, err := b.serve("http", true)
		if err != nil {
			return err
		}
		defer func() { retErr = errors.Join(retErr, one.close()) }()
		servers[i] = one
	}
	conns, err := servers[0].idle(idle)
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	if err != nil {
		return err
	}
	var p50, p99, mean, rate, cpu [2][]float64
	for i := range b.rounds {
		order := []int{i % 2, 1 - i%2}
		for _, k := range order {
			load, err := servers[k].wrk(busy, b.seconds)
			if err != nil {
				return err
			}
			p50[k], p99[k] = append(p50[k], load.p50), append(p99[k], load.p99)
			mean[k], rate[k], cpu[k] = append(mean[k], load.mean), append(rate[k], load.rate), append(cpu[k], load.cpu)
		}
	}
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\n%d busy connections\tbeside %d idle\talone\tratio\t\n", busy, idle)
	for _, each := range []struct {
		name string
		v    [2][]float64
	}{{"mean us", mean}, {"p50 us", p50}, {"p99 us", p99}, {"requests/s", rate}, {"server CPU us/request", cpu}} {
		s := series{each.v[0], each.v[1]}
		fmt.Fprintf(table, "%s\t%v\n", each.name, &s)
		b.summary = append(b.summary, row{fmt.Sprintf("%d busy beside %d idle: %s", busy, idle, each.name), s, each.name == "requests/s"})
	}
	return table.Flush()
}

// calls are single ones, the least of the rounds.
func (b *bench) calls() error {
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\nns a call\tmodule\tnative\tratio\t")
	var least [2]map[string]float64
	var names []string
	for range b.rounds {
		for i, wasm := range []bool{true, false} {
			got, order, err := b.measure("netcalls", wasm)
			if err != nil {
				return err
			}
			names = order
			if least[i] == nil {
				least[i] = got
			}
			for name, v := range got {
				least[i][name] = min(least[i][name], v)
			}
		}
	}
	for _, name := range names {
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.2f\t\n", name, least[0][name], least[1][name], least[0][name]/least[1][name])
	}
	return table.Flush()
}
