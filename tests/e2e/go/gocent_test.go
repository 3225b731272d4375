// The HTTP API with the unmodified gocent, the Go library of the Centrifuge world: each call is lines of JSON to POST /api.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/centrifugal/gocent/v3"
)

// patient waits longer than the second of the library's own client, which a busy machine may need.
var patient = &http.Client{Timeout: within}

func backend(t *testing.T) (*gocent.Client, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return gocent.New(gocent.Config{Addr: "http://" + address + "/api", Key: key, HTTPClient: patient}), ctx
}

func expectCode(t *testing.T, err error, code int) {
	t.Helper()
	var refused *gocent.Error
	if !errors.As(err, &refused) || refused.Code != code {
		t.Fatalf("%v instead of code %d", err, code)
	}
}

func TestGocentPublishesAndReadsHistory(t *testing.T) {
	api, ctx := backend(t)
	channel := "open:gocent"
	first, err := api.Publish(ctx, channel, []byte(`{"text":"고라니"}`))
	must(t, err)
	broadcast, err := api.Broadcast(ctx, []string{channel, "nowhere:a"}, []byte("2"))
	must(t, err)
	if first.Offset != 1 || first.Epoch == "" || broadcast.Responses[0].Result.Offset != 2 {
		t.Fatalf("%+v %+v", first, broadcast)
	}
	expectCode(t, broadcast.Responses[1].Error, 102)
	unkept, err := api.Publish(ctx, channel, []byte("3"), gocent.WithSkipHistory(true))
	must(t, err)
	if unkept.Offset != 0 {
		t.Fatalf("%+v", unkept)
	}
	page, err := api.History(ctx, channel, gocent.WithLimit(10))
	must(t, err)
	if len(page.Publications) != 2 || string(page.Publications[0].Data) != `{"text":"고라니"}` || page.Offset != 2 {
		t.Fatalf("%+v", page)
	}
	since := &gocent.StreamPosition{Offset: 1, Epoch: page.Epoch}
	rest, err := api.History(ctx, channel, gocent.WithLimit(gocent.NoLimit), gocent.WithSince(since))
	must(t, err)
	last, err := api.History(ctx, channel, gocent.WithLimit(1), gocent.WithReverse(true))
	must(t, err)
	if len(rest.Publications) != 1 || len(last.Publications) != 1 || last.Publications[0].Offset != 2 {
		t.Fatalf("%+v %+v", rest, last)
	}
	must(t, api.HistoryRemove(ctx, channel))
	if page, err = api.History(ctx, channel, gocent.WithLimit(10)); err != nil || len(page.Publications) != 0 {
		t.Fatalf("%+v %v", page, err)
	}
}

func TestGocentCommandsAndAsks(t *testing.T) {
	api, ctx := backend(t)
	user, channel := "gocent", "open:commands-gocent"
	client, ended := forms[1].connect(t, user)
	seen := subscribe(t, client, channel)

	present, err := api.Presence(ctx, channel)
	must(t, err)
	stats, err := api.PresenceStats(ctx, channel)
	must(t, err)
	channels, err := api.Channels(ctx, gocent.WithPattern("open:commands-*"))
	must(t, err)
	info, err := api.Info(ctx)
	must(t, err)
	// The library asks for the number of users, which servers since Centrifugo 4 do not tell: they tell that of clients.
	if _, isThere := channels.Channels[channel]; len(present.Presence) != 1 || stats.NumUsers != 1 || !isThere {
		t.Fatalf("%+v %+v %+v", present, stats, channels)
	}
	if len(info.Nodes) != 1 || info.Nodes[0].UID == "" || info.Nodes[0].NumClients < 1 {
		t.Fatalf("%+v", info)
	}

	data := json.RawMessage(`{"a":1}`)
	must(t, api.Subscribe(ctx, "open:by-gocent", user, gocent.WithSubscribeInfo(data), gocent.WithSubscribeData(data),
		gocent.WithPresence(true), gocent.WithJoinLeave(true), gocent.WithPosition(true), gocent.WithRecover(true)))
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		stats, err := api.PresenceStats(ctx, "open:by-gocent")
		must(t, err)
		if stats.NumClients == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the user is not subscribed")
		}
	}
	unsubscribed := make(chan uint32, 1)
	seen.sub.OnUnsubscribed(func(event centrifuge.UnsubscribedEvent) { unsubscribed <- event.Code })
	must(t, api.Unsubscribe(ctx, channel, user))
	if code := take(t, unsubscribed); code != 2000 {
		t.Fatalf("%d", code)
	}
	must(t, api.Disconnect(ctx, user, gocent.WithDisconnect(&gocent.Disconnect{Code: 4500, Reason: "bye"})))
	if code := take(t, ended); code != 4500 {
		t.Fatalf("%d", code)
	}
	must(t, api.Disconnect(ctx, user, gocent.WithDisconnectClientWhitelist([]string{"c"})))
}

func TestGocentSendsManyCommandsInOneRequest(t *testing.T) {
	api, ctx := backend(t)
	pipe := api.Pipe()
	for number := 0; number < 100; number++ {
		must(t, pipe.AddPublish("open:pipe-gocent", []byte(fmt.Sprint(number))))
	}
	must(t, pipe.AddPublish("nowhere:a", []byte("1")))
	must(t, pipe.AddInfo())
	replies, err := api.SendPipe(ctx, pipe)
	must(t, err)
	if len(replies) != 102 || replies[101].Error != nil {
		t.Fatalf("%d replies", len(replies))
	}
	for number, reply := range replies[:100] {
		var result gocent.PublishResult
		must(t, json.Unmarshal(reply.Result, &result))
		if result.Offset != uint64(number+1) {
			t.Fatalf("%d is %+v", number, result)
		}
	}
	expectCode(t, replies[100].Error, 102)
}

func TestGocentIsToldItsErrors(t *testing.T) {
	api, ctx := backend(t)
	_, err := api.Publish(ctx, "nowhere:a", []byte("1"))
	expectCode(t, err, 102)
	_, err = api.Publish(ctx, "", []byte("1"))
	expectCode(t, err, 107)
	stranger := gocent.New(gocent.Config{Addr: "http://" + address + "/api", Key: "wrong", HTTPClient: patient})
	_, err = stranger.Publish(ctx, "open:a", []byte("1"))
	var status gocent.ErrStatusCode
	if !errors.As(err, &status) || status.Code != http.StatusUnauthorized {
		t.Fatalf("%v", err)
	}
}
