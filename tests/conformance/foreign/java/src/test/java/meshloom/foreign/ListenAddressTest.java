package meshloom.foreign;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.NullSource;
import org.junit.jupiter.params.provider.ValueSource;

class ListenAddressTest {
    @ParameterizedTest
    @CsvSource({"127.0.0.1:7000,127.0.0.1,7000", "[::1]:0,::1,0", "dns:localhost:65535,localhost,65535", "dns:[::1]:1,::1,1"})
    void aHostAndPort(String text, String host, int port) {
        assertEquals(new ListenAddress(Optional.empty(), host, port), ListenAddress.parse(text));
    }

    @Test
    void aUnixSocket() {
        assertEquals(Optional.of(Path.of("/run/a:b")), ListenAddress.parse("unix:/run/a:b").path());
    }

    @ParameterizedTest
    @NullSource
    @ValueSource(strings = {"", "localhost", ":7000", "::1:7000", "localhost:", "localhost:65536", "localhost:-1", "localhost:x"})
    void anythingElseIsRefusedWithWhatToWrite(String text) {
        String message = assertThrows(IllegalArgumentException.class, () -> ListenAddress.parse(text)).getMessage();

        assertTrue(message.contains("unix:/path"), message);
    }

    @Test
    void whereOtherMachinesComeOnlyIfTheUserInsists() throws IOException {
        ListenAddress everywhere = ListenAddress.parse("0.0.0.0:7000");

        assertThrows(IOException.class, () -> everywhere.resolve(false));
        assertEquals(7000, everywhere.resolve(true).getPort());
        assertTrue(ListenAddress.parse("127.0.0.1:7000").resolve(false).getAddress().isLoopbackAddress());
    }

    @Test
    void onlyASocketThatNobodyAnswersIsRemoved(@TempDir Path folder) throws IOException {
        Path socket = folder.resolve("socket");
        try (ServerSocketChannel alive = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            alive.bind(UnixDomainSocketAddress.of(socket));
            assertThrows(IOException.class, () -> ListenAddress.removeStale(socket));
        }
        assertTrue(Files.exists(socket));
        ListenAddress.removeStale(socket);
        assertFalse(Files.exists(socket));
        Path file = Files.createFile(folder.resolve("file"));
        assertThrows(IOException.class, () -> ListenAddress.removeStale(file));
        assertTrue(Files.exists(file));
    }
}
