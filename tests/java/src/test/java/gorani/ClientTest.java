package gorani;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.stream.Collectors;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

import io.github.centrifugal.centrifuge.ClientInfo;
import io.github.centrifugal.centrifuge.HistoryOptions;
import io.github.centrifugal.centrifuge.HistoryResult;
import io.github.centrifugal.centrifuge.Options;
import io.github.centrifugal.centrifuge.PresenceResult;
import io.github.centrifugal.centrifuge.PresenceStatsResult;
import io.github.centrifugal.centrifuge.Publication;
import io.github.centrifugal.centrifuge.PublicationEvent;
import io.github.centrifugal.centrifuge.PublishResult;
import io.github.centrifugal.centrifuge.RPCResult;
import io.github.centrifugal.centrifuge.StreamPosition;

/** An app's use of centrifuge-java, which speaks protobuf alone, on one node. */
class ClientTest {
  private static GoraniNode node;

  @BeforeAll
  static void start() throws Exception {
    node = new GoraniNode();
  }

  @AfterAll
  static void stop() {
    node.close();
  }

  @Test
  void aClientPublishesReceivesAndReadsHistoryAndPresence() throws Exception {
    String claims = "{\"sub\":\"ann\",\"info\":{\"name\":\"안\"}}";
    try (Sdk ann = Sdk.connect(node.websocket(), Sdk.withToken(Token.of(claims)))) {
      Sdk.Events events = ann.subscribe("open:all");
      Sdk.<PublishResult>result(done -> events.subscription.publish(Sdk.bytes("{\"text\":\"고라니\"}"), done));
      node.api("publish", "{\"channel\":\"open:all\",\"data\":{\"n\":2},\"tags\":{\"from\":\"backend\"}}");

      PublicationEvent own = Sdk.next(events.publications);
      assertEquals("{\"text\":\"고라니\"}", Sdk.text(own.getData()));
      assertEquals(1, own.getOffset());
      assertEquals("ann", own.getInfo().getUser());
      assertEquals("{\"name\":\"안\"}", Sdk.text(own.getInfo().getConnInfo()));
      PublicationEvent backend = Sdk.next(events.publications);
      assertEquals("{\"n\":2}", Sdk.text(backend.getData()));
      assertEquals("backend", backend.getTags().get("from"));

      HistoryOptions ten = new HistoryOptions.Builder().withLimit(10).build();
      HistoryResult page = Sdk.<HistoryResult>result(done -> events.subscription.history(ten, done));
      assertEquals(List.of(1L, 2L), page.getPublications().stream().map(Publication::getOffset).toList());
      assertEquals(2, page.getOffset());
      HistoryOptions behind = new HistoryOptions.Builder().withLimit(10)
          .withSince(new StreamPosition(1, page.getEpoch())).build();
      HistoryResult rest = Sdk.<HistoryResult>result(done -> events.subscription.history(behind, done));
      assertEquals(List.of("{\"n\":2}"), rest.getPublications().stream().map(p -> Sdk.text(p.getData())).toList());
      HistoryOptions position = new HistoryOptions.Builder().withLimit(0).build();
      assertEquals(2, Sdk.<HistoryResult>result(done -> events.subscription.history(position, done)).getOffset());

      PresenceResult present = Sdk.<PresenceResult>result(events.subscription::presence);
      assertEquals(List.of("ann"), present.getClients().values().stream().map(ClientInfo::getUser).toList());
      PresenceStatsResult stats = Sdk.<PresenceStatsResult>result(events.subscription::presenceStats);
      assertEquals(List.of(1, 1), List.of(stats.getNumClients(), stats.getNumUsers()));
    }
  }

  @Test
  void joinsAndLeavesAreTold() throws Exception {
    try (Sdk ann = Sdk.connect(node.websocket(), "ann")) {
      Sdk.Events events = ann.subscribe("open:joins");
      assertEquals("ann", Sdk.next(events.joined));
      try (Sdk ben = Sdk.connect(node.websocket(), "ben")) {
        ben.subscribe("open:joins");
        assertEquals("ben", Sdk.next(events.joined));
      }
      assertEquals("ben", Sdk.next(events.left));
    }
  }

  @Test
  void payloadsArriveToTheByte() throws Exception {
    byte[] everyByte = new byte[256];
    for (int value = 0; value < everyByte.length; value++) {
      everyByte[value] = (byte) value;
    }
    String long60K = "고".repeat(20_000);
    List<byte[]> payloads = List.of(everyByte, Sdk.bytes(" {\"a\" :\n1 } "), Sdk.bytes("no JSON"), Sdk.bytes(long60K),
        new byte[] {0}, Sdk.bytes("null"));
    try (Sdk ann = Sdk.connect(node.websocket(), "ann"); Sdk ben = Sdk.connect(node.websocket(), "ben")) {
      Sdk.Events events = ben.subscribe("open:bytes");
      for (byte[] payload : payloads) {
        Sdk.<PublishResult>result(done -> ann.client.publish("open:bytes", payload, done));
        assertArrayEquals(payload, Sdk.next(events.publications).getData());
      }
    }
  }

  @Test
  void refusalsHaveTheirCodes() throws Exception {
    try (Sdk ann = Sdk.connect(node.websocket(), "ann")) {
      assertEquals(108, Sdk.<RPCResult>refusal(done -> ann.client.rpc("anything", Sdk.bytes("{}"), done)));
      assertEquals(102, Sdk.<PublishResult>refusal(done -> ann.client.publish("nowhere:a", Sdk.bytes("1"), done)));
      assertEquals(103, Sdk.<PublishResult>refusal(done -> ann.client.publish("members:a", Sdk.bytes("1"), done)));
      assertEquals(107, Sdk.<PublishResult>refusal(done -> ann.client.publish("open:a", new byte[0], done)));
      assertEquals(103, Sdk.next(ann.subscribing("members:a").unsubscribed).getCode());
      assertEquals(102, Sdk.next(ann.subscribing("nowhere:a").unsubscribed).getCode());
      // None of them ended the connection.
      Sdk.Events events = ann.subscribe("open:after");
      Sdk.<PublishResult>result(done -> events.subscription.publish(Sdk.bytes("1"), done));
      assertEquals("1", Sdk.text(Sdk.next(events.publications).getData()));
      assertEquals(0, ann.disconnected.size());
    }
  }

  @Test
  void theApiKnowsTheProtocolAndEndsSubscriptionsAndConnectionsWithItsCodes() throws Exception {
    Options options = Sdk.withToken(Token.ofUser("told"));
    options.setName("android");
    try (Sdk told = Sdk.connect(node.websocket(), options)) {
      String connections = node.api("connections", "{\"user\":\"told\"}");
      assertTrue(connections.contains("\"protocol\":\"protobuf\""), connections);

      Sdk.Events events = told.subscribe("open:told");
      node.api("unsubscribe", "{\"user\":\"told\",\"channel\":\"open:told\"}");
      assertEquals(2000, Sdk.next(events.unsubscribed).getCode());
      Sdk.next(events.subscribing);
      events.subscription.subscribe();
      // The SDK still knows how far it was.
      assertTrue(Sdk.next(events.subscribed).getRecovered());
      events.subscription.unsubscribe();
      assertEquals(0, Sdk.next(events.unsubscribed).getCode());

      Sdk.next(told.connecting);
      node.api("disconnect", "{\"user\":\"told\",\"disconnect\":{\"code\":3011,\"reason\":\"come back\"}}");
      assertEquals(3011, Sdk.next(told.connecting).getCode());
      Sdk.next(told.connected);
      node.api("disconnect", "{\"user\":\"told\",\"disconnect\":{\"code\":4500,\"reason\":\"bye\"}}");
      assertEquals(4500, Sdk.next(told.disconnected).getCode());
    }
  }

  @Test
  void aTokenWithABadSignatureEndsTheClient() throws Exception {
    String good = Token.ofUser("ann");
    String bad = good.substring(0, good.length() - 4) + "AAAA";
    try (Sdk refused = Sdk.refused(node.websocket(), Sdk.withToken(bad))) {
      assertEquals(3500, Sdk.next(refused.disconnected).getCode());
    }
  }

  @Test
  void aHundredSubscriptionsInOneMessageAreEachAnswered() throws Exception {
    try (Sdk many = Sdk.connect(node.websocket(), "many")) {
      List<Sdk.Events> all = new java.util.ArrayList<>();
      for (int number = 0; number < 100; number++) {
        all.add(many.subscribing("open:many-" + number));
      }
      for (Sdk.Events events : all) {
        Sdk.next(events.subscribed);
      }
      String channels = all.stream().map(e -> "\"" + e.subscription.getChannel() + "\"").collect(Collectors.joining(","));
      node.api("broadcast", "{\"channels\":[" + channels + "],\"data\":\"to all\"}");
      for (Sdk.Events events : all) {
        // A JSON string is JSON text for clients of protobuf.
        assertEquals("\"to all\"", new String(Sdk.next(events.publications).getData(), StandardCharsets.UTF_8));
      }
    }
  }
}
