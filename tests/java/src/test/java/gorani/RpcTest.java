package gorani;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

import io.github.centrifugal.centrifuge.RPCResult;

/** Methods that an app calls and a backend answers over HTTP. */
class RpcTest {
  private static ScriptedBackend backend;
  private static GoraniNode node;

  @BeforeAll
  static void start() throws Exception {
    backend = new ScriptedBackend(RpcTest::answer);
    node = new GoraniNode(backend.rpcSettings());
  }

  @AfterAll
  static void stop() {
    node.close();
    backend.close();
  }

  private static String answer(String request) {
    if (request.contains("\"method\":\"sum\"")) {
      return "{\"result\":{\"data\":{\"sum\":3}}}";
    }
    if (request.contains("\"method\":\"bytes\"")) {
      // 00 ff
      return "{\"result\":{\"b64data\":\"AP8=\"}}";
    }
    if (request.contains("\"method\":\"quiet\"")) {
      return "{}";
    }
    return "{\"error\":{\"code\":1404,\"message\":\"no such method\"}}";
  }

  private static byte[] call(Sdk sdk, String method, byte[] data) throws Exception {
    return Sdk.<RPCResult>result(done -> sdk.client.rpc(method, data, done)).getData();
  }

  @Test
  void theBackendAnswersMethodsAndKnowsWhoAsks() throws Exception {
    try (Sdk ann = Sdk.connect(node.websocket(), "ann")) {
      assertEquals("{\"sum\":3}", Sdk.text(call(ann, "sum", Sdk.bytes("[1,2]"))));
      String request = Sdk.next(backend.requests);
      assertTrue(request.contains("\"user\":\"ann\""), request);
      assertTrue(request.contains("\"protocol\":\"protobuf\""), request);
      assertTrue(request.contains("\"data\":[1,2]"), request);
      assertArrayEquals(new byte[] {0, -1}, call(ann, "bytes", new byte[] {-2}));
      request = Sdk.next(backend.requests);
      assertTrue(request.contains("\"b64data\":\"/g==\""), request);
      assertEquals(0, call(ann, "quiet", Sdk.bytes("{}")).length);
      Sdk.next(backend.requests);
      assertEquals(1404, Sdk.<RPCResult>refusal(done -> ann.client.rpc("other", Sdk.bytes("{}"), done)));
      Sdk.next(backend.requests);
      // None of them ended the connection.
      assertEquals(0, ann.disconnected.size());
    }
  }
}
