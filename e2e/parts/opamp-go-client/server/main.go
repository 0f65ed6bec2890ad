// Command opamp-go-server is a server made of opamp-go's server library alone,
// over TLS.  It writes one line per connection, per description of an agent and
// per end of a connection, and never the value of an Authorization header.
package main

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "opamp-go-server:", err)
		os.Exit(1)
	}
}

// demand is what connections must show.
type demand struct {
	// authorization is the whole value of the header; nothing is asked for if empty.
	authorization string
	connections   atomic.Uint64
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "address and port")
	path := flag.String("path", "/v1/opamp", "path of the URL")
	certificate := flag.String("certificate-file", "", "the server's certificate")
	key := flag.String("key-file", "", "its private key")
	authorization := flag.String("authorization-file", "", "file with the Authorization that everyone must show")
	flag.Parse()

	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		return err
	}
	var demand demand
	if *authorization != "" {
		value, err := os.ReadFile(*authorization)
		if err != nil {
			return err
		}
		demand.authorization = strings.TrimSpace(string(value))
		if demand.authorization == "" {
			return errors.New("the file with the Authorization is empty")
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	serving := server.New(nil)
	if err := serving.Start(settings(*listen, *path, pair, &demand)); err != nil {
		return err
	}
	fmt.Printf("serves wss://%s%s\n", serving.Addr(), *path)
	<-signals
	ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return serving.Stop(ending)
}

func settings(listen, path string, pair tls.Certificate, demand *demand) server.StartSettings {
	return server.StartSettings{
		ListenEndpoint: listen,
		ListenPath:     path,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{pair},
			MinVersion:   tls.VersionTLS12,
		},
		Settings: server.Settings{
			Callbacks: types.Callbacks{OnConnecting: demand.connecting},
		},
	}
}

// connecting is called with every request: a WebSocket's first, or a poll.
func (d *demand) connecting(request *http.Request) types.ConnectionResponse {
	number := d.connections.Add(1)
	verdict, accepted := d.judge(request.Header.Values("Authorization"))
	headers := request.Header.Clone()
	headers.Del("Authorization")
	say("connection", map[string]any{
		"number":        number,
		"authorization": verdict,
		"headers":       headers,
	})
	if !accepted {
		return types.ConnectionResponse{HTTPStatusCode: http.StatusUnauthorized}
	}
	one := connection{number: number}
	return types.ConnectionResponse{
		Accept: true,
		ConnectionCallbacks: types.ConnectionCallbacks{
			OnMessage: one.message,
			OnConnectionClose: func(types.Connection) {
				say("closed", map[string]any{"number": number})
			},
		},
	}
}

// judge says in a word what was shown, and whether it is enough.
func (d *demand) judge(shown []string) (string, bool) {
	switch {
	case len(shown) == 0:
		return "absent", d.authorization == ""
	case d.authorization == "":
		return "not asked for", true
	case len(shown) == 1 && subtle.ConstantTimeCompare([]byte(shown[0]), []byte(d.authorization)) == 1:
		return "matches", true
	default:
		return "differs", false
	}
}

// connection is never called concurrently: the library sees to it.
type connection struct {
	number    uint64
	described bool
}

func (c *connection) message(
	_ context.Context, _ types.Connection, message *protobufs.AgentToServer,
) *protobufs.ServerToAgent {
	answer := &protobufs.ServerToAgent{
		InstanceUid: message.GetInstanceUid(),
		Capabilities: uint64(
			protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus,
		),
	}
	if description := message.GetAgentDescription(); description != nil {
		c.described = true
		say("agent", map[string]any{
			"number":      c.number,
			"uid":         readable(message.GetInstanceUid()),
			"identifying": attributes(description.GetIdentifyingAttributes()),
			"others":      attributes(description.GetNonIdentifyingAttributes()),
		})
	}
	if !c.described {
		answer.Flags = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)
	}
	return answer
}

func readable(uid []byte) string {
	id, err := uuid.FromBytes(uid)
	if err != nil {
		return fmt.Sprintf("%x", uid)
	}
	return id.String()
}

// attributes keeps those that are text.
func attributes(all []*protobufs.KeyValue) map[string]string {
	text := map[string]string{}
	for _, one := range all {
		if value, ok := one.GetValue().GetValue().(*protobufs.AnyValue_StringValue); ok {
			text[one.GetKey()] = value.StringValue
		}
	}
	return text
}

// say writes a line: a word and an object, which escapes what others sent.
func say(what string, fields map[string]any) {
	line, err := json.Marshal(fields)
	if err != nil {
		line = []byte("{}")
	}
	fmt.Printf("%s %s\n", what, line)
}
