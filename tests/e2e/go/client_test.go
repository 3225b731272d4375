// The unmodified centrifuge-go against a node, in its JSON and its protobuf form, with compression and without.
//
// Starts the binary named by GORANI_BIN (default target/debug/gorani) with settings of its own on a free port.
// Run: cd tests/e2e/go && go test ./...
package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

const (
	key         = "test-key"
	secret      = "test-secret-of-at-least-thirty-two-bytes"
	within      = 60 * time.Second
	readyWithin = 60 * time.Second
)

const settings = `
[http]
address = "%s"
workers = 2
[api]
keys = ["test-key"]
[token]
hmac_secret = "test-secret-of-at-least-thirty-two-bytes"
[rpc.proxy]
endpoint = "%s/rpc"
timeout = "20s"
[[rpc.namespaces]]
name = "asked"
proxy_enabled = true
[[channel.namespaces]]
name = "open"
history_size = 300
history_ttl = "300s"
presence = true
join_leave = true
allow_positioning = true
allow_recovery = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
allow_presence_for_subscriber = true
allow_history_for_subscriber = true
`

var address string

// answer is what the backend says to an rpc: the sum, or an error of its own.
func answer(writer http.ResponseWriter, request *http.Request) {
	var asked struct {
		Method string `json:"method"`
		User   string `json:"user"`
		Data   []int  `json:"data"`
	}
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	if asked.Method != "asked:sum" {
		fmt.Fprint(writer, `{"error":{"code":1404,"message":"no such method"}}`)
		return
	}
	sum := 0
	for _, number := range asked.Data {
		sum += number
	}
	fmt.Fprintf(writer, `{"result":{"data":{"sum":%d,"for":%q}}}`, sum, asked.User)
}

func TestMain(m *testing.M) {
	backend := httptest.NewServer(http.HandlerFunc(answer))
	stop, err := startNode(backend.URL)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	stop()
	backend.Close()
	os.Exit(code)
}

func startNode(backend string) (func(), error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address = listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "gorani-e2e-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(directory, "gorani.toml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(settings, address, backend)), 0o600); err != nil {
		return nil, err
	}
	binary := os.Getenv("GORANI_BIN")
	if binary == "" {
		binary = "../../../target/debug/gorani"
	}
	node := exec.Command(binary, "serve", "--config", file)
	if err := node.Start(); err != nil {
		return nil, err
	}
	stop := func() {
		_ = node.Process.Signal(os.Interrupt)
		_ = node.Wait()
		_ = os.RemoveAll(directory)
	}
	for end := time.Now().Add(readyWithin); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if response, err := http.Get("http://" + address + "/health/ready"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return stop, nil
			}
		}
	}
	stop()
	return nil, errors.New("the node did not become ready")
}

func call(t *testing.T, method string, params any) map[string]any {
	t.Helper()
	body, err := json.Marshal(params)
	must(t, err)
	request, err := http.NewRequest(http.MethodPost, "http://"+address+"/api/"+method, bytes.NewReader(body))
	must(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-API-Key", key)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	var answer struct {
		Result map[string]any `json:"result"`
		Error  any            `json:"error"`
	}
	must(t, json.NewDecoder(response.Body).Decode(&answer))
	if answer.Error != nil {
		t.Fatalf("%s %s: %v", method, body, answer.Error)
	}
	return answer.Result
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func token(user string) string {
	part := func(value any) string {
		text, _ := json.Marshal(value)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + part(map[string]string{"sub": user})
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func take[T any](t *testing.T, events <-chan T) T {
	t.Helper()
	select {
	case event := <-events:
		return event
	case <-time.After(within):
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}

type form struct {
	name     string
	protocol string
	open     func(string, centrifuge.Config) *centrifuge.Client
	deflates bool
}

var forms = []form{
	{"json", "json", centrifuge.NewJsonClient, false},
	{"protobuf", "protobuf", centrifuge.NewProtobufClient, false},
	{"json-deflate", "json", centrifuge.NewJsonClient, true},
	{"protobuf-deflate", "protobuf", centrifuge.NewProtobufClient, true},
}

// connect opens a client of a user, with the codes of its ends.
func (f form) connect(t *testing.T, user string) (*centrifuge.Client, <-chan uint32) {
	t.Helper()
	client := f.open("ws://"+address+"/connection/websocket", centrifuge.Config{
		Token:             token(user),
		EnableCompression: f.deflates,
		HandshakeTimeout:  within,
		ReadTimeout:       within,
		WriteTimeout:      within,
		MinReconnectDelay: 300 * time.Millisecond,
	})
	connected, ended := make(chan struct{}, 16), make(chan uint32, 16)
	client.OnConnected(func(centrifuge.ConnectedEvent) { connected <- struct{}{} })
	client.OnDisconnected(func(event centrifuge.DisconnectedEvent) { ended <- event.Code })
	must(t, client.Connect())
	t.Cleanup(client.Close)
	take(t, connected)
	return client, ended
}

type seen struct {
	sub          *centrifuge.Subscription
	publications chan centrifuge.Publication
	subscribed   chan centrifuge.SubscribedEvent
	joined       chan string
}

func subscribe(t *testing.T, client *centrifuge.Client, channel string) seen {
	t.Helper()
	sub, err := client.NewSubscription(channel, centrifuge.SubscriptionConfig{Recoverable: true, Positioned: true, JoinLeave: true})
	must(t, err)
	all := seen{sub, make(chan centrifuge.Publication, 1000), make(chan centrifuge.SubscribedEvent, 16), make(chan string, 16)}
	sub.OnPublication(func(event centrifuge.PublicationEvent) { all.publications <- event.Publication })
	sub.OnSubscribed(func(event centrifuge.SubscribedEvent) { all.subscribed <- event })
	sub.OnJoin(func(event centrifuge.JoinEvent) { all.joined <- event.User })
	must(t, sub.Subscribe())
	take(t, all.subscribed)
	return all
}

func each(t *testing.T, run func(*testing.T, form)) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) { run(t, form) })
	}
}

func TestPublishHistoryAndPresence(t *testing.T) {
	each(t, func(t *testing.T, form form) {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		channel := "open:" + form.name
		client, _ := form.connect(t, form.name)
		all := subscribe(t, client, channel)
		_, err := all.sub.Publish(ctx, []byte(`{"n":1}`))
		must(t, err)
		// Long enough to be compressed where that is agreed on.
		long := strings.Repeat("long ", 1000)
		call(t, "publish", map[string]any{"channel": channel, "data": long, "tags": map[string]string{"k": "v"}})
		first, second := take(t, all.publications), take(t, all.publications)
		if string(first.Data) != `{"n":1}` || first.Offset != 1 || first.Info.User != form.name {
			t.Fatalf("%+v", first)
		}
		if string(second.Data) != `"`+long+`"` || second.Offset != 2 || second.Tags["k"] != "v" {
			t.Fatalf("%+v", second)
		}
		page, err := all.sub.History(ctx, centrifuge.WithHistoryLimit(10))
		must(t, err)
		if len(page.Publications) != 2 || page.Offset != 2 || page.Epoch == "" {
			t.Fatalf("%+v", page)
		}
		present, err := all.sub.Presence(ctx)
		must(t, err)
		stats, err := all.sub.PresenceStats(ctx)
		must(t, err)
		if len(present.Clients) != 1 || stats.NumClients != 1 || stats.NumUsers != 1 {
			t.Fatalf("%+v %+v", present, stats)
		}
		other, _ := form.connect(t, form.name+"-other")
		subscribe(t, other, channel)
		for take(t, all.joined) != form.name+"-other" {
		}
		var refused *centrifuge.Error
		if _, err := client.Publish(ctx, "nowhere:a", []byte("1")); !errors.As(err, &refused) || refused.Code != 102 {
			t.Fatalf("%v", err)
		}
	})
}

func TestABackendAnswersAnRpc(t *testing.T) {
	each(t, func(t *testing.T, form form) {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		client, _ := form.connect(t, form.name)
		result, err := client.RPC(ctx, "asked:sum", []byte("[1,2,3]"))
		must(t, err)
		if expected := `{"sum":6,"for":"` + form.name + `"}`; string(result.Data) != expected {
			t.Fatalf("%s is not %s", result.Data, expected)
		}
		var refused *centrifuge.Error
		if _, err := client.RPC(ctx, "asked:nothing", []byte("[]")); !errors.As(err, &refused) || refused.Code != 1404 {
			t.Fatalf("%v", err)
		}
		if _, err := client.RPC(ctx, "unknown:sum", []byte("[]")); !errors.As(err, &refused) || refused.Code != 104 {
			t.Fatalf("%v", err)
		}
	})
}

func TestWhatWasMissedIsRecovered(t *testing.T) {
	each(t, func(t *testing.T, form form) {
		channel, user := "open:again-"+form.name, "again-"+form.name
		client, _ := form.connect(t, user)
		all := subscribe(t, client, channel)
		publish := func(from, to int) {
			for number := from; number < to; number++ {
				call(t, "publish", map[string]any{"channel": channel, "data": number})
			}
		}
		expect := func(from, to int) {
			for number := from; number < to; number++ {
				if publication := take(t, all.publications); string(publication.Data) != fmt.Sprint(number) {
					t.Fatalf("%s instead of %d", publication.Data, number)
				}
			}
		}
		publish(0, 20)
		expect(0, 20)
		call(t, "disconnect", map[string]any{"user": user, "disconnect": map[string]any{"code": 3011, "reason": "force reconnect"}})
		publish(20, 40)
		if event := take(t, all.subscribed); !event.WasRecovering || !event.Recovered {
			t.Fatalf("%+v", event)
		}
		expect(20, 40)
	})
}

func TestTheProtocolIsToldAndATerminalCodeEndsTheClient(t *testing.T) {
	each(t, func(t *testing.T, form form) {
		user := "told-" + form.name
		_, ended := form.connect(t, user)
		connections := call(t, "connections", map[string]any{"user": user})["connections"].(map[string]any)
		for _, connection := range connections {
			if connection.(map[string]any)["protocol"] != form.protocol {
				t.Fatalf("%v", connection)
			}
		}
		if len(connections) != 1 {
			t.Fatalf("%v", connections)
		}
		call(t, "disconnect", map[string]any{"user": user, "disconnect": map[string]any{"code": 4500, "reason": "bye"}})
		if code := take(t, ended); code != 4500 {
			t.Fatalf("%d", code)
		}
	})
}
