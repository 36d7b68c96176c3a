// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// How late a request of a fixed rate may begin. One that is later is not sent: it counts as answered so late, so
	// that an overloaded gateway does not keep the client busy long after its time.
	mostLate = time.Second
	timeout  = 30 * time.Second
	// Servers close a connection that nothing was sent on for five seconds; the client is to do so before them.
	idle = 4 * time.Second
)

// order is what to send.
type order struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	// Certificates that the server's is verified with; without them the system's.
	CAFile      string  `json:"ca_file"`
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"`
	// Requests a second, begun at fixed times whether those before are answered or not. 0: each connection sends as
	// soon as it has its answer.
	Rate float64 `json:"rate"`
	// For streams: what is in each event that is a token.
	Token string `json:"token"`
}

// quantiles are in milliseconds.
type quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Most  float64 `json:"most"`
}

type figures struct {
	// Answered with 200 and whole.
	Requests int `json:"requests"`
	// From the first request to the last answer.
	Seconds float64 `json:"seconds"`
	// Other answers and errors, by what they are.
	Failures map[string]int `json:"failures"`
	// Not sent, as they would have been too late.
	Unsent int `json:"unsent"`
	// Of a request until its answer is whole, at a fixed rate from the time at which it was due.
	Latency quantiles `json:"latency"`
	// Of a stream: until the first token, and from one token to the next.
	First   quantiles `json:"first"`
	Between quantiles `json:"between"`
	// Processor time of this program.
	CPU float64 `json:"cpu"`
}

// worker has one connection.
type worker struct {
	client                  *fasthttp.HostClient
	request                 *fasthttp.Request
	response                *fasthttp.Response
	token                   []byte
	latency, first, between []time.Duration
	failures                map[string]int
	requests, unsent        int
}

func (given order) worker() (*worker, error) {
	address, err := url.Parse(given.URL)
	if err != nil {
		return nil, err
	}
	host := address.Host
	if address.Port() == "" {
		host += map[string]string{"http": ":80", "https": ":443"}[address.Scheme]
	}
	client := &fasthttp.HostClient{
		Addr:                          host,
		IsTLS:                         address.Scheme == "https",
		MaxConns:                      1,
		MaxIdleConnDuration:           idle,
		MaxIdemponentCallAttempts:     1,
		NoDefaultUserAgentHeader:      true,
		DisablePathNormalizing:        true,
		DisableHeaderNamesNormalizing: true,
		ReadTimeout:                   timeout,
		WriteTimeout:                  timeout,
		StreamResponseBody:            given.Token != "",
	}
	if given.CAFile != "" {
		content, err := os.ReadFile(given.CAFile)
		if err != nil {
			return nil, err
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("%s has no certificate", given.CAFile)
		}
		client.TLSConfig = &tls.Config{RootCAs: authorities}
	}
	request := fasthttp.AcquireRequest()
	request.SetRequestURI(given.URL)
	request.Header.SetMethod(fasthttp.MethodPost)
	for name, value := range given.Headers {
		request.Header.Set(name, value)
	}
	request.SetBodyString(given.Body)
	return &worker{
		client:   client,
		request:  request,
		response: fasthttp.AcquireResponse(),
		token:    []byte(given.Token),
		failures: map[string]int{},
	}, nil
}

// send sends one request, whose latency is from due on.
func (one *worker) send(due time.Time) {
	err := one.client.Do(one.request, one.response)
	if err == nil && one.response.StatusCode() != fasthttp.StatusOK {
		err = fmt.Errorf("status %d", one.response.StatusCode())
	}
	var tokenTimes []time.Time
	if len(one.token) > 0 {
		if err == nil {
			tokenTimes, err = one.readTokens()
		}
		if closing := one.response.CloseBodyStream(); err == nil {
			err = closing
		}
	}
	if err != nil {
		one.failures[err.Error()]++
		return
	}
	one.requests++
	one.latency = append(one.latency, time.Since(due))
	for number, at := range tokenTimes {
		if number == 0 {
			one.first = append(one.first, at.Sub(due))
		} else {
			one.between = append(one.between, at.Sub(tokenTimes[number-1]))
		}
	}
}

// readTokens returns when each token of a stream came.
func (one *worker) readTokens() (found []time.Time, err error) {
	stream := one.response.BodyStream()
	if stream == nil {
		return nil, errors.New("no stream")
	}
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte("data:")) && bytes.Contains(lines.Bytes(), one.token) {
			found = append(found, time.Now())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(found) < tokens {
		return nil, fmt.Errorf("%d of %d tokens", len(found), tokens)
	}
	return found, nil
}

// untilEnd sends one request after another.
func (one *worker) untilEnd(end time.Time) {
	for now := time.Now(); now.Before(end); now = time.Now() {
		one.send(now)
	}
}

// untilClosed sends a request for each time at which one is due.
func (one *worker) untilClosed(dues <-chan time.Time) {
	for due := range dues {
		if time.Since(due) > mostLate {
			one.unsent++
			one.latency = append(one.latency, mostLate)
		} else {
			one.send(due)
		}
	}
}

// schedule says when requests are due. It sleeps in the kernel: Go's own timers are a millisecond late.
func (given order) schedule(start time.Time, dues chan<- time.Time) {
	runtime.LockOSThread()
	defer close(dues)
	for number := range int(given.Rate * given.Seconds) {
		due := start.Add(time.Duration(float64(number) / given.Rate * float64(time.Second)))
		for left := time.Until(due); left > 0; left = time.Until(due) {
			pause := syscall.NsecToTimespec(left.Nanoseconds())
			_ = syscall.Nanosleep(&pause, nil) // A signal ends it early; the loop looks again.
		}
		dues <- due
	}
}

func (given order) carryOut() (figures, error) {
	if given.Connections < 1 || given.Seconds <= 0 || given.Rate < 0 {
		return figures{}, errors.New("connections and seconds must be above 0, and rate not below")
	}
	workers := make([]*worker, given.Connections)
	for number := range workers {
		made, err := given.worker()
		if err != nil {
			return figures{}, err
		}
		workers[number] = made
	}
	start := time.Now()
	end := start.Add(time.Duration(given.Seconds * float64(time.Second)))
	// Nothing that is due waits for a place here.
	dues := make(chan time.Time, int(given.Rate*given.Seconds)+1)
	if given.Rate > 0 {
		go given.schedule(start, dues)
	}
	var group sync.WaitGroup
	for _, one := range workers {
		group.Go(func() {
			if given.Rate > 0 {
				one.untilClosed(dues)
			} else {
				one.untilEnd(end)
			}
		})
	}
	group.Wait()
	return together(workers, time.Since(start))
}

func together(workers []*worker, spent time.Duration) (figures, error) {
	all := figures{Seconds: spent.Seconds(), Failures: map[string]int{}}
	var latency, first, between []time.Duration
	for _, one := range workers {
		all.Requests += one.requests
		all.Unsent += one.unsent
		latency = append(latency, one.latency...)
		first = append(first, one.first...)
		between = append(between, one.between...)
		for what, count := range one.failures {
			all.Failures[what] += count
		}
	}
	all.Latency, all.First, all.Between = quantilesOf(latency), quantilesOf(first), quantilesOf(between)
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return all, err
	}
	all.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	return all, nil
}

// quantilesOf takes the value at the rank of each, rounded up.
func quantilesOf(times []time.Duration) quantiles {
	if len(times) == 0 {
		return quantiles{}
	}
	slices.Sort(times)
	at := func(share float64) float64 {
		return times[int(math.Ceil(share*float64(len(times))))-1].Seconds() * 1000
	}
	return quantiles{len(times), at(0.5), at(0.9), at(0.99), at(1)}
}
