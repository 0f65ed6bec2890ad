import io.opentelemetry.opamp.client.OpampClient;
import io.opentelemetry.opamp.client.internal.connectivity.http.OkHttpSender;
import io.opentelemetry.opamp.client.internal.connectivity.websocket.OkHttpWebSocket;
import io.opentelemetry.opamp.client.internal.request.delay.PeriodicDelay;
import io.opentelemetry.opamp.client.internal.request.service.HttpRequestService;
import io.opentelemetry.opamp.client.internal.request.service.WebSocketRequestService;
import io.opentelemetry.opamp.client.internal.response.MessageData;
import io.opentelemetry.opamp.client.request.service.RequestService;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
import okhttp3.OkHttpClient;
import opamp.proto.AgentDescription;
import opamp.proto.AnyValue;
import opamp.proto.KeyValue;
import opamp.proto.ServerErrorResponse;
import sun.misc.Signal;

/**
 * An agent made of the OpAMP client for Java alone, over WebSocket or HTTP.
 *
 * <p>What it hears and what fails goes to standard output. Over WebSocket the client speaks only
 * when something changes, so SIGUSR1 changes its description.
 */
public final class Main {
  private static final String NAME = "opamp-client-java";

  private static final Duration PING = Duration.ofSeconds(10);

  private static boolean connected = false;

  public static void main(String[] arguments) throws Exception {
    Map<String, String> given = new HashMap<>();
    for (int at = 0; at + 1 < arguments.length; at += 2) {
      given.put(arguments[at], arguments[at + 1]);
    }
    String endpoint = given.get("--endpoint");
    Duration pause = Duration.ofSeconds(Long.parseLong(given.get("--heartbeat")));
    UUID id = UUID.fromString(given.get("--uid"));
    ByteBuffer uid = ByteBuffer.allocate(16);
    uid.putLong(id.getMostSignificantBits()).putLong(id.getLeastSignificantBits());
    System.out.println("agent " + id);

    OkHttpClient http = http(Path.of(given.get("--token-file")), Path.of(given.get("--ca-file")));
    PeriodicDelay delay = PeriodicDelay.ofFixedDuration(pause);
    RequestService service =
        endpoint.startsWith("wss:")
            ? WebSocketRequestService.create(OkHttpWebSocket.create(endpoint, http), delay)
            : HttpRequestService.create(OkHttpSender.create(endpoint, http), delay, delay);
    OpampClient client =
        OpampClient.builder()
            .setRequestService(service)
            .setInstanceUid(uid.array())
            .putIdentifyingAttribute("service.name", NAME)
            .build(new Tells());

    int[] changes = {0};
    Signal.handle(
        new Signal("USR1"),
        signal -> {
          changes[0]++;
          client.setAgentDescription(description(changes[0]));
          System.out.println("changed");
        });
    Thread.currentThread().join();
  }

  /** Shows the token with every request, and trusts the file's CAs alone. */
  private static OkHttpClient http(Path token, Path bundle) throws Exception {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (InputStream pem = Files.newInputStream(bundle)) {
      for (Certificate ca : CertificateFactory.getInstance("X.509").generateCertificates(pem)) {
        store.setCertificateEntry("ca-" + store.size(), ca);
      }
    }
    TrustManagerFactory factory =
        TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    factory.init(store);
    TrustManager[] managers = factory.getTrustManagers();
    SSLContext tls = SSLContext.getInstance("TLS");
    tls.init(null, managers, null);
    String value = "Bearer " + Files.readString(token).trim();
    return new OkHttpClient.Builder()
        // The client leaves a Close of the server unanswered and stops reading: without
        // pings it would never learn that its WebSocket is gone.
        .pingInterval(PING)
        .sslSocketFactory(tls.getSocketFactory(), (X509TrustManager) managers[0])
        .addInterceptor(
            chain ->
                chain.proceed(
                    chain.request().newBuilder().header("Authorization", value).build()))
        .build();
  }

  private static AgentDescription description(int changes) {
    return new AgentDescription.Builder()
        .identifying_attributes(List.of(attribute("service.name", NAME)))
        .non_identifying_attributes(List.of(attribute("changes", String.valueOf(changes))))
        .build();
  }

  private static KeyValue attribute(String key, String value) {
    AnyValue text = new AnyValue.Builder().string_value(value).build();
    return new KeyValue.Builder().key(key).value(text).build();
  }

  /** Writes down when the client is connected and when not. */
  private static final class Tells implements OpampClient.Callbacks {
    @Override
    public void onConnect(OpampClient client) {
      if (!connected) {
        System.out.println("connected");
      }
      connected = true;
    }

    @Override
    public void onConnectFailed(OpampClient client, Throwable why) {
      connected = false;
      System.out.println("no connection: " + why);
    }

    @Override
    public void onErrorResponse(OpampClient client, ServerErrorResponse error) {
      System.out.println("error: " + error.error_message);
    }

    @Override
    public void onMessage(OpampClient client, MessageData message) {
      System.out.println("message");
    }
  }
}
