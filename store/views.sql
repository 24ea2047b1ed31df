-- Made after the load: indices are cheaper to build than to keep.
CREATE INDEX socket_local ON socket (local);
CREATE INDEX socket_remote ON socket (remote);
CREATE INDEX translation_before ON translation (before_source);
CREATE INDEX translation_served ON translation (after_destination);
CREATE INDEX flow_source ON flow (source);
CREATE INDEX flow_destination ON flow (destination);
CREATE INDEX flow_at ON flow (section, packet);
CREATE INDEX conversation_number ON conversation (number);
CREATE INDEX crossing_before ON crossing (before_source);
CREATE INDEX crossing_after ON crossing (after_source);

CREATE VIEW artifacts AS
SELECT a.id AS artifact, i.path AS input, a.path, s.line AS first_line, s.format, s.tool, s.command,
  s.host, s.kind AS scope, s.namespace, s.name,
  s.lines, s.understood, s.ignored, s.unknown, a.size, a.sha256,
  CASE WHEN a.recorded THEN strftime('%Y-%m-%dT%H:%M:%SZ', a.recorded / 1000000000, 'unixepoch') END AS recorded
FROM artifact a JOIN input i ON i.id = a.input LEFT JOIN section s ON s.artifact = a.id;

CREATE VIEW sockets AS
SELECT {protocol:k.protocol} AS protocol, k.state, {endpoint:k.local:local_cut} AS local, {endpoint:k.remote:remote_cut} AS remote,
  k.pid, k.program, k.inode, k.uid, k.recv_q, k.send_q, k.bytes_sent, k.bytes_received, k.bytes_acked,
  s.host, s.kind AS scope, s.namespace, s.name, a.path AS artifact, k.line
FROM socket k JOIN section s ON s.id = k.section JOIN artifact a ON a.id = s.artifact;

CREATE VIEW translations AS
SELECT {protocol:t.protocol} AS protocol, t.via AS mechanism,
  {endpoint:t.before_source} AS source, {endpoint:t.before_destination} AS destination,
  {endpoint:t.after_source} AS source_after, {endpoint:t.after_destination} AS destination_after,
  t.state, t.flags & 1 <> 0 AS unreplied, t.flags & 2 <> 0 AS assured, t.event, t.timeout, t.zone, t.mark,
  t.packets, t.bytes, t.service AS service_id, t.backend AS backend_id, t.cluster, t.request_id, t.response_flags, t.peer,
  CASE WHEN t.start THEN strftime('%Y-%m-%dT%H:%M:%fZ', t.start / 1e9, 'unixepoch') END AS start,
  s.host, s.kind AS scope, s.namespace, s.name, a.path AS artifact, t.line, t.pointer, NULL AS packet, NULL AS tier, NULL AS behind_artifact, NULL AS behind_packet
FROM translation t JOIN section s ON s.id = t.section JOIN artifact a ON a.id = s.artifact
UNION ALL
SELECT {protocol:t.protocol}, 'capture',
  {endpoint:t.before_source}, {endpoint:t.before_destination}, {endpoint:t.after_source}, {endpoint:t.after_destination},
  t.state, t.flags & 1 <> 0, 0, NULL, -1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  CASE WHEN t.start THEN strftime('%Y-%m-%dT%H:%M:%fZ', t.start / 1e9, 'unixepoch') END,
  s.host, s.kind, s.namespace, s.name, a.path, NULL, NULL, t.packet, t.tier, b.path, t.behind_packet
FROM crossing t JOIN section s ON s.id = t.section JOIN artifact a ON a.id = s.artifact
  LEFT JOIN section r ON r.id = t.behind_section LEFT JOIN artifact b ON b.id = r.artifact;

CREATE VIEW flows AS
SELECT f.id AS flow, coalesce(c.number, f.id) AS conversation, {protocol:f.protocol} AS protocol,
  {endpoint:f.source} AS client, {endpoint:f.destination} AS server, f.flags & 1 <> 0 AS guessed,
  f.device, f.leg, f.encapsulation,
  strftime('%Y-%m-%dT%H:%M:%fZ', f.first / 1e9, 'unixepoch') AS first, strftime('%Y-%m-%dT%H:%M:%fZ', f.last / 1e9, 'unixepoch') AS last, (f.last - f.first) / 1e9 AS duration,
  {half:client}, {half:server},
  f.duplicates, f.fault, {endpoint:f.announced_source} AS announced_client, {endpoint:f.announced_destination} AS announced_server, f.server_name, f.exchanged AS exchanges,
  s.host, s.kind AS scope, s.namespace, s.name, a.path AS artifact, f.packet
FROM flow f LEFT JOIN conversation c ON c.flow = f.id JOIN section s ON s.id = f.section JOIN artifact a ON a.id = s.artifact;

CREATE VIEW captures AS
SELECT a.path AS artifact, i.number AS interface, i.name AS device, i.link_type, i.snaplen, i.filter, i.packets, i.cut,
  CASE WHEN i.lossy THEN i.dropped END AS dropped,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.first / 1e9, 'unixepoch') AS first, strftime('%Y-%m-%dT%H:%M:%fZ', i.last / 1e9, 'unixepoch') AS last,
  s.host, s.kind AS scope, s.namespace, s.name
FROM interface i JOIN section s ON s.id = i.section JOIN artifact a ON a.id = s.artifact;

CREATE VIEW services AS
SELECT v.source, v.mechanism, {protocol:v.protocol} AS protocol, {endpoint:v.address} AS vip,
  v.namespace, v.name, v.port, v.type, v.mark, v.number AS service_id, v.cluster, v.target_port,
  {endpoint:b.address} AS backend, b.number AS backend_id, b.weight, b.probability, b.state AS backend_state, b.active,
  b.namespace AS backend_namespace, b.name AS backend_name, b.host AS backend_host,
  s.host, s.kind AS scope, a.path AS artifact, v.line, v.pointer
FROM service v LEFT JOIN backend b ON b.service = v.id JOIN section s ON s.id = v.section JOIN artifact a ON a.id = s.artifact;

CREATE VIEW owners AS
SELECT o.address, o.kind, o.namespace, o.name, coalesce(nullif(o.host, ''), s.host) AS host, o.workload, o.state, o.container_id, o.pid, o.netns,
  a.path AS artifact, o.line, o.pointer, o.packet
FROM owner o JOIN section s ON s.id = o.section JOIN artifact a ON a.id = s.artifact
UNION ALL
SELECT substr(d.prefix, 1, instr(d.prefix, '/') - 1), s.kind, s.namespace, s.name, s.host, '', '', '', NULL, '', a.path, d.line, d.pointer, NULL
FROM address d JOIN section s ON s.id = d.section JOIN artifact a ON a.id = s.artifact;

CREATE VIEW readings AS
SELECT r.subject, r.name, r.value, r.number, s.format, s.host, s.kind AS scope, s.namespace, s.name AS scope_name, a.path AS artifact, r.line, r.pointer
FROM reading r JOIN section s ON s.id = r.section JOIN artifact a ON a.id = s.artifact;

CREATE VIEW problems AS
SELECT a.path AS artifact, p.line, p.pointer, p.text, p.why, s.format, p.packet
FROM problem p JOIN section s ON s.id = p.section JOIN artifact a ON a.id = s.artifact;
