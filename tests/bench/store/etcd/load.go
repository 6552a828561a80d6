package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	connections = 8
	keys        = 10_000
	prefix      = "/registry/pods/default/"
)

// load is what a case works with.
type load struct {
	ctx     context.Context
	clients []*clientv3.Client
}

var cases = map[string]func(*load, []string){
	"puts": puts, "range": ranges, "watch": watch, "fill": fill, "steady": steady,
}

func key(index int) string { return fmt.Sprintf("%spod-%06d", prefix, index) }

// value says which key and round it is of, so that a sample can be checked.
func value(index, round, size int) []byte {
	head := fmt.Appendf(nil, "%d/%d/", index, round)
	return append(head, bytes.Repeat([]byte{'v'}, size-len(head))...)
}

func (l *load) client(index int) *clientv3.Client { return l.clients[index%len(l.clients)] }

func (l *load) put(client, index, round, size int) int64 {
	answer, err := l.client(client).Put(l.ctx, key(index), string(value(index, round, size)))
	check(err)
	return answer.Header.Revision
}

// each runs work(client, number) count times, shared out over so many clients at once.
func each(clients, count int, work func(client, number int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for number := int(next.Add(1)) - 1; number < count; number = int(next.Add(1)) - 1 {
				work(client, number)
			}
		})
	}
	group.Wait()
}

func (l *load) revision() int64 {
	answer, err := l.client(0).Get(l.ctx, "none")
	check(err)
	return answer.Header.Revision
}

// sample checks that a key holds a value that was written to it.
func (l *load) sample(index, size int) {
	answer, err := l.client(0).Get(l.ctx, key(index))
	check(err)
	require(len(answer.Kvs) == 1, "key %d is missing", index)
	held := answer.Kvs[0].Value
	require(len(held) == size && bytes.HasPrefix(held, fmt.Appendf(nil, "%d/", index)), "key %d holds %.20q", index, held)
}

// puts CLIENTS COUNT SIZE
func puts(l *load, arguments []string) {
	clients, count, size := number(arguments, 0), number(arguments, 1), number(arguments, 2)
	before := l.revision()
	taken := make([]time.Duration, count)
	start := time.Now()
	each(clients, count, func(client, number int) {
		start := time.Now()
		l.put(client, number%keys, number/keys, size)
		taken[number] = time.Since(start)
	})
	rate := float64(count) / time.Since(start).Seconds()
	require(l.revision()-before == int64(count), "%d puts, %d revisions", count, l.revision()-before)
	l.sample(min(count, keys)/2, size)
	slices.Sort(taken)
	fmt.Printf("per_second %.1f\np99_milliseconds %.3f\n", rate, float64(taken[count*99/100].Microseconds())/1000)
}

// range SIZE SECONDS
func ranges(l *load, arguments []string) {
	size, seconds := number(arguments, 0), number(arguments, 1)
	each(64, keys, func(client, number int) { l.put(client, number, 0, size) })
	read := 0
	start := time.Now()
	for time.Since(start) < time.Duration(seconds)*time.Second {
		answer, err := l.client(0).Get(l.ctx, prefix, clientv3.WithPrefix())
		check(err)
		require(len(answer.Kvs) == keys, "%d keys", len(answer.Kvs))
		held := answer.Kvs[read%keys]
		require(string(held.Key) == key(read%keys) && len(held.Value) == size, "key %d is %s", read%keys, held.Key)
		read++
	}
	fmt.Printf("per_second %.2f\n", float64(read)/time.Since(start).Seconds())
}

// watch WATCHERS WRITES SIZE
func watch(l *load, arguments []string) {
	watchers, writes, size := number(arguments, 0), number(arguments, 1), number(arguments, 2)
	var ready, done sync.WaitGroup
	ready.Add(watchers)
	for watcher := range watchers {
		done.Go(func() {
			events := l.client(watcher).Watch(l.ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
			seen, last := 0, int64(0)
			for answer := range events {
				check(answer.Err())
				if answer.Created {
					ready.Done()
				}
				for _, event := range answer.Events {
					require(event.Kv.ModRevision > last && len(event.Kv.Value) == size, "watcher %d: %v", watcher, event)
					last = event.Kv.ModRevision
					seen++
				}
				if seen == writes {
					return
				}
			}
			log.Fatalf("watcher %d ended after %d events", watcher, seen)
		})
	}
	ready.Wait()
	start := time.Now()
	each(8, writes, func(client, number int) { l.put(client, number%keys, number/keys, size) })
	done.Wait()
	fmt.Printf("deliveries_per_second %.0f\n", float64(watchers*writes)/time.Since(start).Seconds())
}

// fill OBJECTS SIZE
func fill(l *load, arguments []string) {
	objects, size := number(arguments, 0), number(arguments, 1)
	each(64, objects, func(client, number int) { l.put(client, number, 0, size) })
	l.sample(objects/2, size)
	fmt.Println("filled")
}

// steady RATE SIZE MINUTE...: puts at a fixed rate by 64 clients; says how many there were at each of these minutes.
func steady(l *load, arguments []string) {
	rate, size := number(arguments, 0), number(arguments, 1)
	var count atomic.Int64
	start := time.Now()
	end := start.Add(time.Duration(number(arguments, len(arguments)-1)) * time.Minute)
	var group sync.WaitGroup
	for client := range 64 {
		group.Go(func() {
			pause := 64 * time.Second / time.Duration(rate)
			due := start.Add(pause * time.Duration(client) / 64)
			for round := client; due.Before(end); round += 64 {
				time.Sleep(time.Until(due))
				l.put(client, round%keys, round/keys, size)
				count.Add(1)
				due = due.Add(pause)
			}
		})
	}
	for index := range arguments[2:] {
		time.Sleep(time.Until(start.Add(time.Duration(number(arguments, index+2)) * time.Minute)))
		fmt.Printf("puts %d\n", count.Load())
	}
	group.Wait()
}
