package meshloom.foreign.work;

import meshloom.v1.Process.Ordering;

/**
 * What a stream was opened with.
 *
 * @param replica which replica of the node this stream is, from 0
 * @param body what the handler does, with the config of this stream
 * @param slots where its calls run
 */
record Session(
        String pipeline, String node, int replica, Handler handler, Handler.Body body, Ordering ordering, CallSlots slots) {}
