package meshloom.foreign;

import io.grpc.Server;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.protobuf.services.ProtoReflectionService;
import io.grpc.protobuf.services.ProtoReflectionServiceV1;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import meshloom.v1.NodeServiceGrpc;

/** The gRPC server: the section "Serving". */
final class NodeServer {
    private static final int WINDOW_BYTES = 8 << 20;
    /** How long connections may take to close once no stream is left on them. */
    private static final long CLOSE_SECONDS = 1;

    private final Server server;
    private final HealthStatusManager health;
    private final Drain drain;
    private final ListenAddress address;

    private NodeServer(Server server, HealthStatusManager health, Drain drain, ListenAddress address) {
        this.server = server;
        this.health = health;
        this.drain = drain;
        this.address = address;
    }

    /**
     * Listens.
     *
     * @param insecure whether an address that other machines reach may be served without TLS
     */
    static NodeServer start(ListenAddress address, boolean insecure, NodeService service, Drain drain) throws IOException {
        HealthStatusManager health = new HealthStatusManager();
        health.setStatus(HealthStatusManager.SERVICE_NAME_ALL_SERVICES, ServingStatus.SERVING); // T2
        health.setStatus(NodeServiceGrpc.SERVICE_NAME, ServingStatus.SERVING);
        Server server = builder(address, insecure)
                .maxInboundMessageSize(ProtocolLimits.MESSAGE_BYTES) // T4
                .permitKeepAliveTime(1, TimeUnit.SECONDS) // T5
                .permitKeepAliveWithoutCalls(true)
                .flowControlWindow(WINDOW_BYTES) // T6
                .addService(service)
                .addService(health.getHealthService())
                .addService(ProtoReflectionServiceV1.newInstance()) // T3
                .addService(ProtoReflectionService.newInstance())
                .build()
                .start();
        return new NodeServer(server, health, drain, address);
    }

    /** Where it listens, with the port that it has. */
    String listening() {
        return address.path().map(path -> "unix:" + path).orElseGet(() -> address.host() + ":" + server.getPort());
    }

    void awaitTermination() throws InterruptedException {
        server.awaitTermination();
    }

    /** T8: returns once every work has been answered and every stream has ended. */
    void drain() throws InterruptedException, IOException {
        health.enterTerminalState();
        drain.drain();
        server.shutdown();
        server.awaitTermination(CLOSE_SECONDS, TimeUnit.SECONDS);
        if (address.path().isPresent()) {
            Files.deleteIfExists(address.path().get());
        }
    }

    private static NettyServerBuilder builder(ListenAddress address, boolean insecure) throws IOException {
        if (address.path().isEmpty()) {
            return NettyServerBuilder.forAddress(address.resolve(insecure));
        }
        if (!Epoll.isAvailable()) {
            throw new IOException("Unix sockets need epoll, which is not available here; listen on HOST:PORT",
                    Epoll.unavailabilityCause());
        }
        Path path = address.path().get();
        ListenAddress.removeStale(path);
        return NettyServerBuilder.forAddress(new DomainSocketAddress(path.toFile()))
                .channelType(EpollServerDomainSocketChannel.class)
                .bossEventLoopGroup(new EpollEventLoopGroup(1))
                .workerEventLoopGroup(new EpollEventLoopGroup());
    }
}
