// loadgen sends HTTP/1.1 requests over kept-alive connections and tells what came of them, as JSON on standard output.
//
// Open loop (-rate): arrivals are drawn beforehand (Poisson, by -seed), and a time is counted from the moment at which a request was
// meant to be sent, whether or not a connection was free then: a server that stalls is not spared the requests that it kept waiting
// ("coordinated omission"). Closed loop (-clients): each client sends its next request when its last one is answered.
//
// The requests are a file of JSON lines {"route", "method", "path", "body"}, sent in order, again and again. With -answers each answer
// is written to a file, one JSON line each. It ends after -seconds, or when standard input ends.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type asked struct {
	Route  string `json:"route"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   string `json:"body"`
	wire   []byte
}

type sending struct {
	place int64
	meant time.Time
}

type settings struct {
	at, token, requests, answers string
	rate, seconds                float64
	clients, connections         int
	seed                         int64
	deadline                     time.Duration
}

func main() {
	var set settings
	deadline := flag.Float64("deadline", 30, "seconds after which a request without an answer has failed")
	flag.StringVar(&set.at, "at", "", "host:port")
	flag.StringVar(&set.token, "token-file", "", "file with the bearer token")
	flag.StringVar(&set.requests, "requests", "", "file of requests")
	flag.StringVar(&set.answers, "answers", "", "file to write answers to")
	flag.Float64Var(&set.rate, "rate", 0, "requests a second, open loop")
	flag.IntVar(&set.clients, "clients", 1, "clients, closed loop (without -rate)")
	flag.IntVar(&set.connections, "connections", 512, "connections at most, open loop")
	flag.Float64Var(&set.seconds, "seconds", 10, "how long")
	flag.Int64Var(&set.seed, "seed", 1, "of the arrivals")
	flag.Parse()
	set.deadline = time.Duration(*deadline * float64(time.Second))
	if err := run(set); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(set settings) error {
	requests, err := read(set)
	if err != nil {
		return err
	}
	told, err := newTold(set.answers)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var once sync.Once
	halt := func() { once.Do(func() { close(stop) }) }
	go func() {
		io.Copy(io.Discard, os.Stdin)
		halt()
	}()
	time.AfterFunc(time.Duration(set.seconds*float64(time.Second)), halt)
	began := time.Now()
	if set.rate > 0 {
		alarm, err := newAlarm(stop)
		if err != nil {
			return err
		}
		open(set, requests, told, stop, alarm)
	} else {
		closed(set, requests, told, stop)
	}
	return told.write(time.Since(began).Seconds())
}

func read(set settings) ([]asked, error) {
	token := ""
	if set.token != "" {
		text, err := os.ReadFile(set.token)
		if err != nil {
			return nil, err
		}
		token = strings.TrimSpace(string(text))
	}
	file, err := os.Open(set.requests)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var all []asked
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var one asked
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, err
		}
		head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n", one.Method, one.Path, set.at)
		if token != "" {
			head += "Authorization: Bearer " + token + "\r\n"
		}
		if one.Body != "" {
			head += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(one.Body))
		}
		one.wire = []byte(head + "\r\n" + one.Body)
		all = append(all, one)
	}
	if len(all) == 0 && lines.Err() == nil {
		return nil, fmt.Errorf("no requests in %s", set.requests)
	}
	return all, lines.Err()
}

// closed: every client has one request under way.
func closed(set settings, requests []asked, told *told, stop chan struct{}) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range set.clients {
		all.Add(1)
		go func() {
			defer all.Done()
			var line line
			for {
				select {
				case <-stop:
					line.close()
					return
				default:
				}
				place := next.Add(1) - 1
				line.ask(set, requests, told, sending{place, time.Now()})
			}
		}()
	}
	all.Wait()
}

// open: requests arrive when they are meant to, and wait for a connection when there is none.
func open(set settings, requests []asked, told *told, stop chan struct{}, alarm *alarm) {
	queue := make(chan sending, 1<<20)
	var free atomic.Int64
	var all sync.WaitGroup
	started := 0
	random := rand.New(rand.NewSource(set.seed))
	meant := time.Now()
	for place := int64(0); ; place++ {
		meant = meant.Add(time.Duration(random.ExpFloat64() / set.rate * float64(time.Second)))
		alarm.wait(time.Until(meant))
		select {
		case <-stop:
			close(queue)
			all.Wait()
			return
		default:
		}
		if free.Load() <= int64(len(queue)) && started < set.connections {
			started++
			all.Add(1)
			free.Add(1)
			go func() {
				defer all.Done()
				var line line
				for one := range queue {
					free.Add(-1)
					line.ask(set, requests, told, one)
					free.Add(1)
				}
				line.close()
			}()
		}
		queue <- sending{place, meant}
	}
}

// line is one connection, made anew when it has ended.
type line struct {
	conn   net.Conn
	reader *bufio.Reader
	body   []byte
	later  string // Retry-After of the last answer
}

func (l *line) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

func (l *line) ask(set settings, requests []asked, told *told, one sending) {
	request := &requests[one.place%int64(len(requests))]
	status, err := l.exchange(set, request.wire)
	took := time.Since(one.meant)
	why := ""
	if err != nil {
		l.close()
		why = err.Error()
	}
	told.note(request.Route, one.place, status, why, took, l)
}

func (l *line) exchange(set settings, wire []byte) (int, error) {
	l.body, l.later = l.body[:0], ""
	if l.conn == nil {
		conn, err := net.DialTimeout("tcp", set.at, set.deadline)
		if err != nil {
			return 0, err
		}
		l.conn, l.reader = conn, bufio.NewReaderSize(conn, 16<<10)
	} else if l.ended() {
		l.close()
		return l.exchange(set, wire)
	}
	l.conn.SetDeadline(time.Now().Add(set.deadline))
	if _, err := l.conn.Write(wire); err != nil {
		return 0, err
	}
	return l.answer()
}

// ended tells a connection that the server closed while it was idle (it may: RFC 9112, 9.3.1) from one that broke under a request.
func (l *line) ended() bool {
	raw, ok := l.conn.(*net.TCPConn)
	if !ok {
		return false
	}
	return readable(raw)
}

func (l *line) answer() (int, error) {
	head, err := l.reader.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(head) < 12 {
		return 0, fmt.Errorf("no status line: %q", head)
	}
	status, err := strconv.Atoi(string(head[9:12]))
	if err != nil {
		return 0, err
	}
	length, keep := int64(-1), true
	for {
		field, err := l.reader.ReadSlice('\n')
		if err != nil {
			return status, err
		}
		text := strings.TrimSpace(string(field))
		if text == "" {
			break
		}
		name, value, _ := strings.Cut(text, ":")
		switch strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return status, err
			}
		case "retry-after":
			l.later = strings.TrimSpace(value)
		case "connection":
			keep = !strings.EqualFold(strings.TrimSpace(value), "close")
		}
	}
	if length < 0 {
		return status, fmt.Errorf("status %d without a content-length", status)
	}
	if int64(cap(l.body)) < length {
		l.body = make([]byte, length)
	}
	l.body = l.body[:length]
	if _, err := io.ReadFull(l.reader, l.body); err != nil {
		return status, err
	}
	if !keep {
		l.close()
	}
	return status, nil
}
