// A go-libp2p host over TCP, Noise and Yamux with go-libp2p-pubsub, signature policy StrictNoSign,
// told what to do by JSON lines on standard input: see tests/interop/foreign.py. It ends with its
// standard input.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

type order struct {
	Do      string `json:"do"`
	Address string `json:"address"`
	Data    string `json:"data"`
}

type mesh struct {
	sync.Mutex
	peers map[peer.ID]bool
}

func (m *mesh) set(p peer.ID, in bool) {
	m.Lock()
	defer m.Unlock()
	if in {
		m.peers[p] = true
	} else {
		delete(m.peers, p)
	}
}

func (m *mesh) list() []string {
	m.Lock()
	defer m.Unlock()
	names := []string{}
	for p := range m.peers {
		names = append(names, p.String())
	}
	return names
}

// The mesh as its tracer sees it.
func (m *mesh) AddPeer(peer.ID, protocol.ID)                         {}
func (m *mesh) RemovePeer(p peer.ID)                                 { m.set(p, false) }
func (m *mesh) Join(string)                                          {}
func (m *mesh) Leave(string)                                         {}
func (m *mesh) Graft(p peer.ID, _ string)                            { m.set(p, true) }
func (m *mesh) Prune(p peer.ID, _ string)                            { m.set(p, false) }
func (m *mesh) ValidateMessage(*pubsub.Message)                      {}
func (m *mesh) DeliverMessage(*pubsub.Message)                       {}
func (m *mesh) RejectMessage(*pubsub.Message, string)                {}
func (m *mesh) DuplicateMessage(*pubsub.Message)                     {}
func (m *mesh) ThrottlePeer(peer.ID)                                 {}
func (m *mesh) RecvRPC(*pubsub.RPC)                                  {}
func (m *mesh) SendRPC(*pubsub.RPC, peer.ID)                         {}
func (m *mesh) DropRPC(*pubsub.RPC, peer.ID)                         {}
func (m *mesh) UndeliverableMessage(*pubsub.Message)                 {}
func (m *mesh) OnClosedOutboundStream(peer.ID)                       {}
func (m *mesh) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}
func (m *mesh) OnNewOutboundStream(peer.ID, protocol.ID)             {}

var output sync.Mutex

func say(event map[string]any) {
	output.Lock()
	defer output.Unlock()
	line, err := json.Marshal(event)
	check(err)
	_, err = os.Stdout.Write(append(line, '\n'))
	check(err)
}

func check(err error) {
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func messageID(message *pb.Message) string {
	topic := []byte(message.GetTopic())
	prefix := binary.BigEndian.AppendUint32(nil, uint32(len(topic)))
	sum := sha256.Sum256(append(append(prefix, topic...), message.GetData()...))
	return string(sum[:20])
}

func dial(ctx context.Context, node host.Host, text string) peer.ID {
	address, err := multiaddr.NewMultiaddr(text)
	check(err)
	info, err := peer.AddrInfoFromP2pAddr(address)
	check(err)
	check(node.Connect(ctx, *info))
	return info.ID
}

func main() {
	name := os.Args[1]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	node, err := libp2p.New(
		libp2p.NoTransports,
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
	)
	check(err)
	links := &mesh{peers: map[peer.ID]bool{}}
	router, err := pubsub.NewGossipSub(ctx, node,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithFloodPublish(false),
		pubsub.WithRawTracer(links),
	)
	check(err)
	topic, err := router.Join(name)
	check(err)
	var subscription *pubsub.Subscription
	join := func() {
		subscription, err = topic.Subscribe()
		check(err)
		go func(s *pubsub.Subscription) {
			for {
				message, err := s.Next(ctx)
				if err != nil {
					return
				}
				if message.ReceivedFrom != node.ID() {
					say(map[string]any{"event": "message", "data": hex.EncodeToString(message.Data)})
				}
			}
		}(subscription)
	}
	join()
	address := node.Addrs()[0].String() + "/p2p/" + node.ID().String()
	say(map[string]any{"event": "ready", "address": address})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o order
		check(json.Unmarshal(lines.Bytes(), &o))
		switch o.Do {
		case "dial":
			dial(ctx, node, o.Address)
			say(map[string]any{"event": "dialed"})
		case "publish":
			data, err := hex.DecodeString(o.Data)
			check(err)
			check(topic.Publish(ctx, data))
		case "leave":
			subscription.Cancel()
		case "join":
			join()
		case "mesh":
			say(map[string]any{"event": "mesh", "peers": links.list()})
		case "ping":
			target := dial(ctx, node, o.Address)
			limited, stop := context.WithTimeout(ctx, 5*time.Second)
			result := <-ping.Ping(limited, node, target)
			stop()
			check(result.Error)
			say(map[string]any{"event": "pong", "ms": float64(result.RTT.Microseconds()) / 1000})
		case "identify":
			target := dial(ctx, node, o.Address)
			var protocols []protocol.ID
			for range 50 {
				protocols, err = node.Peerstore().GetProtocols(target)
				check(err)
				if len(protocols) > 0 {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			agent, _ := node.Peerstore().Get(target, "AgentVersion")
			say(map[string]any{"event": "identified", "agent": agent, "protocols": protocols})
		}
	}
}
