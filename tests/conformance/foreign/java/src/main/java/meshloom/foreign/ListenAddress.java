package meshloom.foreign;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Optional;

/**
 * Where the node listens (T1). Either a path or a host and port.
 *
 * @param path of a Unix socket; empty: TCP
 */
record ListenAddress(Optional<Path> path, String host, int port) {
    private static final String FORMS = "`unix:/path`, `HOST:PORT` (an IPv6 host in brackets) or `dns:HOST:PORT`";

    /** @throws IllegalArgumentException with what to write instead */
    static ListenAddress parse(String text) {
        if (text == null || text.isEmpty()) {
            throw new IllegalArgumentException("MESHLOOM_LISTEN is not set; set it to " + FORMS);
        }
        if (text.startsWith("unix:")) {
            return new ListenAddress(Optional.of(Path.of(text.substring("unix:".length()))), "", 0);
        }
        String address = text.startsWith("dns:") ? text.substring("dns:".length()) : text;
        int colon = address.lastIndexOf(':');
        String host = colon < 0 ? "" : address.substring(0, colon);
        boolean bracketed = host.startsWith("[") && host.endsWith("]");
        if (host.isEmpty() || (host.contains(":") && !bracketed)) {
            throw noAddress(text);
        }
        return new ListenAddress(Optional.empty(), bracketed ? host.substring(1, host.length() - 1) : host,
                parsePort(address.substring(colon + 1), text));
    }

    /**
     * The TCP address.
     *
     * @param insecure whether other machines may reach it, though this node knows no TLS (T10)
     */
    InetSocketAddress resolve(boolean insecure) throws IOException {
        InetAddress resolved = InetAddress.getByName(host);
        if (!resolved.isLoopbackAddress() && !insecure) {
            throw new IOException("other machines can reach " + host + ", and this node has no mutual TLS; listen on loopback "
                    + "or on a Unix socket, or set MESHLOOM_INSECURE=1");
        }
        return new InetSocketAddress(resolved, port);
    }

    /** Removes the Unix socket of a node that has died. */
    static void removeStale(Path socket) throws IOException {
        if (!Files.exists(socket, LinkOption.NOFOLLOW_LINKS)) {
            return;
        }
        try (SocketChannel probe = SocketChannel.open(StandardProtocolFamily.UNIX)) {
            probe.connect(UnixDomainSocketAddress.of(socket));
        } catch (IOException nobodyAnswers) {
            if (!Files.readAttributes(socket, BasicFileAttributes.class).isOther()) {
                throw new IOException(socket + " is there and is no socket; remove it or listen elsewhere");
            }
            Files.delete(socket);
            return;
        }
        throw new IOException("another process listens on " + socket + "; end it or listen elsewhere");
    }

    private static int parsePort(String port, String text) {
        try {
            int number = Integer.parseInt(port);
            if (number >= 0 && number <= 65_535) {
                return number;
            }
        } catch (NumberFormatException notANumber) {
            throw noAddress(text);
        }
        throw noAddress(text);
    }

    private static IllegalArgumentException noAddress(String text) {
        return new IllegalArgumentException("MESHLOOM_LISTEN is \"" + text + "\"; set it to " + FORMS);
    }
}
