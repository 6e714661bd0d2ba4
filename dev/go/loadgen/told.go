package main

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Classes of times: each a hundredth wider than the one before, from a microsecond on.
const (
	growth  = 1.01
	classes = 2200
)

type route struct {
	Statuses map[string]int `json:"statuses"`
	Broken   map[string]int `json:"broken"`
	Slowest  float64        `json:"max_ms"`
	Sum      float64        `json:"sum_ms"`
	Good     []int          `json:"good"`
}

// told is what came of the requests: by route the statuses, and the times of answers with a 2xx by class.
type told struct {
	mutex   sync.Mutex
	routes  map[string]*route
	file    *os.File
	answers *bufio.Writer
}

type answer struct {
	Route  string  `json:"route"`
	Place  int64   `json:"place"`
	Status int     `json:"status"`
	Broken string  `json:"broken,omitempty"`
	Ms     float64 `json:"ms"`
	At     float64 `json:"at"`
	Later  string  `json:"retry_after,omitempty"`
	Body   string  `json:"body"`
}

func newTold(answers string) (*told, error) {
	it := &told{routes: map[string]*route{}}
	if answers != "" {
		file, err := os.Create(answers)
		if err != nil {
			return nil, err
		}
		it.file, it.answers = file, bufio.NewWriterSize(file, 1<<20)
	}
	return it, nil
}

func class(milliseconds float64) int {
	if milliseconds <= 0.001 {
		return 0
	}
	return min(classes-1, int(math.Log(milliseconds*1000)/math.Log(growth))+1)
}

func (it *told) note(name string, place int64, status int, broken string, took time.Duration, l *line) {
	milliseconds := float64(took) / float64(time.Millisecond)
	it.mutex.Lock()
	defer it.mutex.Unlock()
	found := it.routes[name]
	if found == nil {
		found = &route{Statuses: map[string]int{}, Broken: map[string]int{}, Good: make([]int, classes)}
		it.routes[name] = found
	}
	switch {
	case broken != "":
		found.Broken[broken]++
	default:
		found.Statuses[strconv.Itoa(status)]++
		if status/100 == 2 {
			found.Good[class(milliseconds)]++
			found.Sum += milliseconds
			found.Slowest = max(found.Slowest, milliseconds)
		}
	}
	if it.answers != nil {
		line, err := json.Marshal(answer{name, place, status, broken, milliseconds, float64(time.Now().UnixNano()) / 1e9, l.later, string(l.body)})
		if err == nil {
			it.answers.Write(append(line, '\n'))
		}
	}
}

func (it *told) write(seconds float64) error {
	if it.answers != nil {
		if err := it.answers.Flush(); err != nil {
			return err
		}
		if err := it.file.Close(); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"seconds": seconds, "cpu_seconds": used(), "growth": growth, "routes": it.routes})
}

// used is the CPU time of this process so far, seconds.
func used() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
