// Command opamp-go-client is an agent made of opamp-go's client library alone,
// over WebSocket or HTTP.  Each offer is written to standard output; with
// -applies it is then applied, else reported as failed.  SIGUSR1 makes the
// agent accept connection settings from then on, SIGUSR2 makes it not.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
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

// settings are those of one connection.
type settings struct {
	endpoint  string
	header    http.Header
	tls       *tls.Config
	heartbeat time.Duration
}

// agent outlives its clients: applying an offer is to stop one and start another.
type agent struct {
	id           types.InstanceUid
	applies      bool
	capabilities protobufs.AgentCapabilities
	offers       chan *protobufs.OpAMPConnectionSettings
	client       client.OpAMPClient
}

func run() error {
	endpoint := flag.String("endpoint", "", "URL of the server: wss or https")
	uid := flag.String("uid", "", "instance UID, as a UUID")
	token := flag.String("token-file", "", "file with the bearer token")
	ca := flag.String("ca-file", "", "file with the server's CAs")
	heartbeat := flag.Int("heartbeat", 2, "seconds between messages")
	applies := flag.Bool("applies", false, "apply offers")
	flag.Parse()

	agent := agent{
		applies:      *applies,
		capabilities: always,
		offers:       make(chan *protobufs.OpAMPConnectionSettings, 4),
	}
	id, err := uuid.Parse(*uid)
	if err != nil {
		return err
	}
	agent.id = types.InstanceUid(id)
	secret, err := os.ReadFile(*token)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(*ca)
	if err != nil {
		return err
	}
	trust, err := trusting(pem)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM)
	fmt.Println("agent", *uid)
	err = agent.start(settings{
		endpoint:  *endpoint,
		header:    http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(secret))}},
		tls:       trust,
		heartbeat: time.Duration(*heartbeat) * time.Second,
	})
	if err != nil {
		return err
	}
	for {
		select {
		case offer := <-agent.offers:
			if err := agent.apply(offer); err != nil {
				return err
			}
		case received := <-signals:
			switch received {
			case syscall.SIGUSR1:
				err = agent.say(always | accepts)
			case syscall.SIGUSR2:
				err = agent.say(always)
			default:
				return agent.stop()
			}
			if err != nil {
				return err
			}
		}
	}
}

// start makes a client with these settings.
func (a *agent) start(with settings) error {
	if strings.HasPrefix(with.endpoint, "https:") {
		a.client = client.NewHTTP(nil)
	} else {
		a.client = client.NewWebSocket(nil)
	}
	if err := a.client.SetAgentDescription(&protobufs.AgentDescription{
		IdentifyingAttributes: []*protobufs.KeyValue{{
			Key:   "service.name",
			Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: "opamp-go-client"}},
		}},
	}); err != nil {
		return err
	}
	if err := a.client.SetCapabilities(&a.capabilities); err != nil {
		return err
	}
	return a.client.Start(context.Background(), types.StartSettings{
		OpAMPServerURL:    with.endpoint,
		Header:            with.header,
		TLSConfig:         with.tls,
		InstanceUid:       a.id,
		HeartbeatInterval: &with.heartbeat,
		Callbacks: types.Callbacks{
			OnConnect:                 func(context.Context) { fmt.Println("connected") },
			OnConnectFailed:           func(_ context.Context, err error) { fmt.Println("no connection:", err) },
			OnOpampConnectionSettings: a.offered,
		},
	})
}

func (a *agent) stop() error {
	ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return a.client.Stop(ending)
}

// say announces other capabilities.
func (a *agent) say(capabilities protobufs.AgentCapabilities) error {
	a.capabilities = capabilities
	err := a.client.SetCapabilities(&a.capabilities)
	fmt.Printf("capabilities %#x\n", uint64(capabilities))
	return err
}

// offered is called by the client, which must not be stopped from within.
func (a *agent) offered(_ context.Context, offer *protobufs.OpAMPConnectionSettings) error {
	fmt.Println("offered", offer.GetDestinationEndpoint())
	if !a.applies {
		return errors.New("this agent takes no settings")
	}
	a.offers <- offer
	return nil
}

// apply goes over to what was offered: endpoint, headers, CA, certificate, heartbeat.
func (a *agent) apply(offer *protobufs.OpAMPConnectionSettings) error {
	trust, err := trusting(offer.GetCertificate().GetCaCert())
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(offer.GetCertificate().GetCert(), offer.GetCertificate().GetPrivateKey())
	if err != nil {
		return err
	}
	trust.Certificates = []tls.Certificate{pair}
	header := http.Header{}
	for _, one := range offer.GetHeaders().GetHeaders() {
		header.Add(one.GetKey(), one.GetValue())
	}
	if err := a.stop(); err != nil {
		return err
	}
	return a.start(settings{
		endpoint:  offer.GetDestinationEndpoint(),
		header:    header,
		tls:       trust,
		heartbeat: time.Duration(offer.GetHeartbeatIntervalSeconds()) * time.Second,
	})
}

// trusting trusts these CAs alone.
func trusting(pem []byte) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no CA certificate to verify the server with")
	}
	return &tls.Config{RootCAs: roots}, nil
}
