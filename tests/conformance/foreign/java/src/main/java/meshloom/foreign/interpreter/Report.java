package meshloom.foreign.interpreter;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.HexFormat;
import meshloom.foreign.batch.Event;

/** What has happened in this process. */
final class Report {
    private long setups;
    private long calls;
    private long running;
    private long most;
    private ArrayNode cancelled = Json.object().arrayNode();
    private ArrayNode notes = Json.object().arrayNode();

    synchronized void setUpBegins() {
        setups++;
    }

    synchronized void callBegins() {
        calls++;
        running++;
        most = Math.max(most, running);
    }

    synchronized void callEnds() {
        running--;
    }

    synchronized void cancelled(Event event) {
        cancelled.add(HexFormat.of().formatHex(event.uid().toByteArray()));
    }

    synchronized void note(Event event, JsonNode n) {
        notes.addArray().add(event.key()).add(n);
    }

    /** Tells, and empties what counts since the last report. */
    synchronized ObjectNode take() {
        ObjectNode report = Json.object()
                .put("setups", setups)
                .put("teardowns", 0) // a handler of level core has none
                .put("calls", calls)
                .put("most", most);
        report.set("cancelled", cancelled);
        report.set("notes", notes);
        cancelled = report.arrayNode();
        notes = report.arrayNode();
        most = running;
        return report;
    }
}
