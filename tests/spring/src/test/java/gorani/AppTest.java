package gorani;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.springframework.web.socket.client.standard.StandardWebSocketClient;
import org.springframework.web.socket.sockjs.client.RestTemplateXhrTransport;
import org.springframework.web.socket.sockjs.client.Transport;
import org.springframework.web.socket.sockjs.client.WebSocketTransport;

/** Spring's client sends to /app, as to a controller's methods, and a backend answers over HTTP. */
class AppTest {
  private static ScriptedBackend backend;
  private static GoraniNode node;

  @BeforeAll
  static void start() throws Exception {
    backend = new ScriptedBackend(request -> {
      if (request.contains("\"method\":\"sum\"")) {
        return "{\"result\":{\"data\":{\"sum\":3}}}";
      }
      if (request.contains("\"method\":\"rooms/first\"")) {
        return "{\"result\":{\"data\":{\"room\":1}}}";
      }
      return "{\"error\":{\"code\":1404,\"message\":\"no such method\"}}";
    });
    node = new GoraniNode(backend.rpcSettings());
  }

  @AfterAll
  static void stop() {
    node.close();
    backend.close();
  }

  private static String url() {
    return "ws://127.0.0.1:" + node.http + "/stomp";
  }

  private static void asksAndIsAnswered(Client client) throws Exception {
    var replies = client.subscribe("/user/queue/sum", true);
    client.session.send("/app/sum", List.of(1, 2));
    assertEquals(Map.of("sum", 3), Client.next(replies));
    String request = Client.next(backend.requests);
    assertTrue(request.contains("\"data\":[1,2]"), request);
    assertTrue(request.contains("\"protocol\":\"stomp\""), request);
  }

  @Test
  void aMessageToAppIsAnsweredToTheQueueOfItsSession() throws Exception {
    try (Client client = new Client(url()); Client other = new Client(url())) {
      var heardByOther = other.subscribe("/user/queue/sum", true);
      asksAndIsAnswered(client);
      assertEquals(0, heardByOther.size());
    }
    List<Transport> transports =
        List.of(new WebSocketTransport(new StandardWebSocketClient()), new RestTemplateXhrTransport());
    for (Transport transport : transports) {
      try (Client client = Client.overSockJs(transport, "http://127.0.0.1:" + node.http + "/stomp/sockjs")) {
        asksAndIsAnswered(client);
      }
    }
  }

  @Test
  void aSubscriptionToAppIsOneCallWithOneMessage() throws Exception {
    try (Client client = new Client(url())) {
      assertEquals(Map.of("room", 1), Client.next(client.subscribe("/app/rooms/first", false)));
      Client.next(backend.requests);
    }
  }
}
