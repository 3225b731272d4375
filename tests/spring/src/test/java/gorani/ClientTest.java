package gorani;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.Map;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.springframework.web.socket.client.standard.StandardWebSocketClient;
import org.springframework.web.socket.sockjs.client.RestTemplateXhrTransport;
import org.springframework.web.socket.sockjs.client.Transport;
import org.springframework.web.socket.sockjs.client.WebSocketTransport;

/** Spring's WebSocketStompClient, unchanged, against a node. */
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

  private static String url() {
    return "ws://127.0.0.1:" + node.http + "/stomp";
  }

  @Test
  void aClientHearsWhatAnotherSendsAndWhatABackendPublishes() throws Exception {
    try (Client one = new Client(url()); Client other = new Client(url())) {
      var heard = one.subscribe("/topic/open:spring", true);
      other.session.send("/topic/open:spring", Map.of("text", "고라니: deer"));
      assertEquals(Map.of("text", "고라니: deer"), Client.next(heard));
      node.publish("open:spring", "{\"text\":\"by HTTP\"}");
      assertEquals(Map.of("text", "by HTTP"), Client.next(heard));
    }
  }

  @Test
  void theSockJsClientHearsOverWebSocketAndOverHttp() throws Exception {
    List<Transport> transports =
        List.of(new WebSocketTransport(new StandardWebSocketClient()), new RestTemplateXhrTransport());
    for (Transport transport : transports) {
      try (Client client = Client.overSockJs(transport, "http://127.0.0.1:" + node.http + "/stomp/sockjs")) {
        var heard = client.subscribe("/topic/open:sockjs", true);
        client.session.send("/topic/open:sockjs", Map.of("text", "고라니"));
        assertEquals(Map.of("text", "고라니"), Client.next(heard));
      }
    }
  }

  @Test
  void aRefusalIsTold() throws Exception {
    try (Client client = new Client(url())) {
      client.subscribe("/topic/closed:spring", false);
      assertEquals("unknown channel", Client.next(client.errors));
    }
  }
}
