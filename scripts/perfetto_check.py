"""Reads a trace file with Perfetto's own schema and plays it as the UI does.

    python3 scripts/perfetto_check.py FILE

Needs the PyPI package `perfetto`. Prints what is in the file as one JSON object; fails if bytes are
not in the schema, a track is not described, or an end closes another slice than its own.
"""

import collections
import json
import sys

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema


def unknown(message):
    """Whether a message, or one inside it, has fields that the schema lacks."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    if len(UnknownFieldSet(message)):
        return True
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            values = value if isinstance(value, collections.abc.Sequence) else [value]
            if any(unknown(item) for item in values):
                return True
    return False


trace = schema.Trace()
trace.ParseFromString(open(sys.argv[1], "rb").read())
assert not unknown(trace), "a field that Perfetto does not know"

event = schema.TrackEvent
tracks, packets, flows = {}, [], collections.Counter()
for packet in trace.packet:
    assert packet.trusted_packet_sequence_id, "a packet without a sequence"
    if packet.HasField("track_descriptor"):
        tracks[packet.track_descriptor.uuid] = packet.track_descriptor
    if packet.HasField("track_event"):
        assert packet.track_event.track_uuid in tracks, "an event on a track that is not described"
        packets.append(packet)
        flows.update(packet.track_event.flow_ids)
for track in tracks.values():
    assert not track.parent_uuid or track.parent_uuid in tracks, "a parent that is not described"

threads = [(t.thread.pid, t.thread.tid) for t in tracks.values() if t.HasField("thread")]
assert len(set(threads)) == len(threads), "two threads with one id"
packets.sort(key=lambda packet: packet.timestamp)
stacks, slices = collections.defaultdict(list), []
for packet in packets:
    stack = stacks[packet.track_event.track_uuid]
    if packet.track_event.type == event.TYPE_SLICE_BEGIN:
        stack.append(packet)
    elif packet.track_event.type == event.TYPE_SLICE_END:
        begin = stack.pop()
        notes = {note.name: note for note in begin.track_event.debug_annotations}
        slices.append((begin.track_event.name, packet.timestamp - begin.timestamp, notes))
assert not any(stacks.values()), "a slice without an end"

kinds = collections.Counter(packet.track_event.type for packet in packets)
print(
    json.dumps(
        {
            "slices": kinds[event.TYPE_SLICE_BEGIN],
            "instants": kinds[event.TYPE_INSTANT],
            "points": kinds[event.TYPE_COUNTER],
            "threads": len(threads),
            "tracks": len(tracks),
            "arrows": sum(1 for count in flows.values() if count > 1),
            "spans": {
                notes["span_id"].string_value: length
                for _, length, notes in slices
                if "span_id" in notes
            },
        }
    )
)
