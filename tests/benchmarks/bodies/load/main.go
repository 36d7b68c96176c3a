// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

// Sends one request again and again for some seconds and waits for the last answers, so that all work begun is counted.
// Arguments: address, file of the whole request, connections, seconds. Prints requests, seconds, median and 99th
// percentile in milliseconds, and lost requests as JSON.
package main

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

func send(address string, request []byte, end time.Time) (times []float64, lost int) {
	var connection net.Conn
	var answers *bufio.Reader
	for time.Now().Before(end) {
		start := time.Now()
		if connection == nil {
			opened, err := net.Dial("tcp", address)
			if err != nil {
				lost++
				continue
			}
			connection, answers = opened, bufio.NewReader(opened)
		}
		keep := false
		_, err := connection.Write(request)
		if err == nil {
			var answer *http.Response
			if answer, err = http.ReadResponse(answers, nil); err == nil {
				_, err = io.Copy(io.Discard, answer.Body)
				keep = !answer.Close
			}
		}
		if err != nil {
			lost++
		} else {
			times = append(times, time.Since(start).Seconds()*1000)
		}
		if err != nil || !keep {
			connection.Close()
			connection = nil
		}
	}
	return times, lost
}

func main() {
	request, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	connections, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(os.Args[4], 64)
	if err != nil {
		log.Fatal(err)
	}
	var all []float64
	var lost int
	var mutex sync.Mutex
	var group sync.WaitGroup
	start := time.Now()
	end := start.Add(time.Duration(seconds * float64(time.Second)))
	for range connections {
		group.Go(func() {
			times, failed := send(os.Args[1], request, end)
			mutex.Lock()
			defer mutex.Unlock()
			all = append(all, times...)
			lost += failed
		})
	}
	group.Wait()
	spent := time.Since(start).Seconds()
	if len(all) == 0 {
		log.Fatal("no request was answered")
	}
	slices.Sort(all)
	figures := map[string]any{
		"requests": len(all),
		"seconds":  spent,
		"median":   all[len(all)/2],
		"p99":      all[len(all)*99/100],
		"lost":     lost,
	}
	if err := json.NewEncoder(os.Stdout).Encode(figures); err != nil {
		log.Fatal(err)
	}
}
