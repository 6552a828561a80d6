// The peer of `make bench-store`: etcd from its Go module, as a server of its own or within the process that loads it.
//
//	etcd-peer serve DIRECTORY PORT            one member on 127.0.0.1:PORT, as the etcd program starts it; prints "ready"
//	etcd-peer CASE TARGET [ARGUMENT...]       one case; TARGET is a directory (embedded) or http://127.0.0.1:PORT
//
// The cases, their arguments and what they print are those of knarr's side: pkg/store/examples/store-load.rs.
package main

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: etcd-peer serve DIRECTORY PORT | etcd-peer CASE TARGET [ARGUMENT...]")
	}
	verb, target, arguments := os.Args[1], os.Args[2], os.Args[3:]
	if verb == "serve" {
		serve(target, number(arguments, 0))
		return
	}
	run, known := cases[verb]
	if !known {
		log.Fatalf("no case is called %q", verb)
	}
	clients, done := connect(target)
	defer done()
	run(&load{context.Background(), clients}, arguments)
}

// start runs one member with etcd's defaults: what is acknowledged is synced, five minutes of history are kept.
func start(directory string, clients string) *embed.Etcd {
	config := embed.NewConfig()
	config.Dir = directory
	config.LogLevel = "fatal"
	config.QuotaBackendBytes = 8 << 30
	config.AutoCompactionMode = embed.CompactorModePeriodic
	config.AutoCompactionRetention = "5m"
	// The peer port is of no use to one member, but cannot be left out: a socket file takes no port of the machine.
	socket, err := url.Parse("unix://" + filepath.Join(directory, "peer.sock"))
	check(err)
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*socket}, []url.URL{*socket}
	config.InitialCluster = config.Name + "=" + socket.String()
	listen, err := url.Parse(clients)
	check(err)
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*listen}, []url.URL{*listen}
	check(os.MkdirAll(directory, 0o700))
	member, err := embed.StartEtcd(config)
	check(err)
	<-member.Server.ReadyNotify()
	return member
}

func serve(directory string, port int) {
	member := start(directory, fmt.Sprintf("http://127.0.0.1:%d", port))
	fmt.Println("ready")
	check(<-member.Err())
}

// connect gives connections to share between a case's clients.
func connect(target string) ([]*clientv3.Client, func()) {
	if !strings.HasPrefix(target, "http://") {
		member := start(target, "unix://"+filepath.Join(target, "client.sock"))
		return []*clientv3.Client{v3client.New(member.Server)}, member.Close
	}
	var clients []*clientv3.Client
	for range connections {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{target}, DialTimeout: 10 * time.Second})
		check(err)
		clients = append(clients, client)
	}
	return clients, func() {
		for _, client := range clients {
			check(client.Close())
		}
	}
}

func number(arguments []string, index int) int {
	if index >= len(arguments) {
		log.Fatalf("argument %d is missing", index+1)
	}
	value, err := strconv.Atoi(arguments[index])
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func require(holds bool, format string, values ...any) {
	if !holds {
		log.Fatalf(format, values...)
	}
}
