package meshloom.foreign.work;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class AccountingTest {
    @Test
    void allAreClosedOnceEachOfThemIs() {
        Accounting accounting = new Accounting(3);

        accounting.close(1);
        accounting.consume(0);
        assertFalse(accounting.allClosed());
        accounting.consume(2);

        assertTrue(accounting.allClosed());
        assertEquals(2, accounting.consumed());
    }

    @Test
    void anInputIsClosedOnce() {
        Accounting accounting = new Accounting(2);
        accounting.close(0);

        assertFalse(accounting.isOpen(0));
        assertThrows(IllegalStateException.class, () -> accounting.close(0));
        assertThrows(IllegalStateException.class, () -> accounting.consume(0));
        assertEquals(0, accounting.consumed());
        assertTrue(accounting.isOpen(1));
    }

    @Test
    void whatIsOpenCanBeClosedWhileItIsVisited() {
        Accounting accounting = new Accounting(4);
        accounting.close(2);
        List<Integer> visited = new ArrayList<>();

        accounting.forEachOpen(input -> {
            visited.add(input);
            accounting.close(input);
        });

        assertEquals(List.of(0, 1, 3), visited);
        assertTrue(accounting.allClosed());
    }
}
