// Command opamp-go-client is an agent made of opamp-go's client library alone.
// It takes no settings: each offer is written to standard output and reported
// as failed.  SIGUSR1 makes it accept connection settings from then on,
// SIGUSR2 makes it not.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/open-telemetry/opamp-go/client"
	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
)

const (
	always = protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsConnectionSettingsStatus
	accepts = protobufs.AgentCapabilities_AgentCapabilities_AcceptsOpAMPConnectionSettings
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "opamp-go-client:", err)
		os.Exit(1)
	}
}

func run() error {
	endpoint := flag.String("endpoint", "", "URL of the server: wss or https")
	uid := flag.String("uid", "", "instance UID, 32 hexadecimal digits")
	token := flag.String("token-file", "", "file with the bearer token")
	ca := flag.String("ca-file", "", "file with the server's CAs")
	heartbeat := flag.Duration("heartbeat", 2*time.Second, "time between messages")
	flag.Parse()

	var id types.InstanceUid
	digits, err := hex.DecodeString(*uid)
	if err != nil || copy(id[:], digits) != len(id) {
		return fmt.Errorf("-uid must be %d hexadecimal digits", 2*len(id))
	}
	secret, err := os.ReadFile(*token)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(*ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("-ca-file %s holds no certificate", *ca)
	}

	var agent client.OpAMPClient
	if strings.HasPrefix(*endpoint, "https:") {
		agent = client.NewHTTP(nil)
	} else {
		agent = client.NewWebSocket(nil)
	}
	if err := agent.SetAgentDescription(&protobufs.AgentDescription{
		IdentifyingAttributes: []*protobufs.KeyValue{{
			Key:   "service.name",
			Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: "opamp-go-client"}},
		}},
	}); err != nil {
		return err
	}
	capabilities := always
	if err := agent.SetCapabilities(&capabilities); err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM)
	err = agent.Start(context.Background(), types.StartSettings{
		OpAMPServerURL:    *endpoint,
		Header:            http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(secret))}},
		TLSConfig:         &tls.Config{RootCAs: roots},
		InstanceUid:       id,
		HeartbeatInterval: heartbeat,
		Callbacks: types.Callbacks{
			OnConnect:       func(context.Context) { fmt.Println("connected") },
			OnConnectFailed: func(_ context.Context, err error) { fmt.Println("not connected:", err) },
			OnOpampConnectionSettings: func(_ context.Context, settings *protobufs.OpAMPConnectionSettings) error {
				fmt.Println("offered", settings.GetDestinationEndpoint())
				return errors.New("this agent takes no settings")
			},
		},
	})
	if err != nil {
		return err
	}
	for received := range signals {
		switch received {
		case syscall.SIGUSR1:
			capabilities = always | accepts
		case syscall.SIGUSR2:
			capabilities = always
		default:
			ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return agent.Stop(ending)
		}
		if err := agent.SetCapabilities(&capabilities); err != nil {
			return err
		}
		fmt.Printf("capabilities %#x\n", uint64(capabilities))
	}
	return nil
}
