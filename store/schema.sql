-- One case: the records of all its artifacts. The views are the public face
-- and only grow; the tables below them may change with the schema version.
--
-- An endpoint (address and port) is one column: IPv4 is the integer
-- address * 65536 + port, IPv6 the text [address]:port, NULL is not known.
-- So an index finds an endpoint in one probe, and a network is a range.

CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE input (id INTEGER PRIMARY KEY, path TEXT, sha256 TEXT, created INTEGER);

CREATE TABLE artifact (
  id INTEGER PRIMARY KEY, input INTEGER, path TEXT, host TEXT, kind TEXT, namespace TEXT, name TEXT, size INTEGER,
  sha256 TEXT, recorded INTEGER, truncated INTEGER);

CREATE TABLE section (
  id INTEGER PRIMARY KEY, artifact INTEGER, line INTEGER, format TEXT, tool TEXT, command TEXT,
  host TEXT, kind TEXT, namespace TEXT, name TEXT,
  lines INTEGER, understood INTEGER, ignored INTEGER, unknown INTEGER);

-- The text of the artifacts in blocks, compressed with zstd. A block begins at
-- the begin of the line that it names, unless part is set: then it goes on
-- inside that line.
CREATE TABLE block (artifact INTEGER, position INTEGER, line INTEGER, part INTEGER, text BLOB, PRIMARY KEY (artifact, position)) WITHOUT ROWID;

CREATE TABLE socket (
  section INTEGER, line INTEGER, pointer TEXT, protocol INTEGER, state TEXT,
  local, remote, local_cut TEXT, remote_cut TEXT, device TEXT, recv_q INTEGER, send_q INTEGER,
  uid INTEGER, pid INTEGER, program TEXT, inode INTEGER, cookie INTEGER,
  bytes_sent INTEGER, bytes_acked INTEGER, bytes_received INTEGER, timer TEXT);

-- flags: 1 unreplied, 2 assured, 4 offloaded, 8 closing, 16 selects,
-- 32 loopback, 64 ingress, 128 request, 256 proxied
CREATE TABLE translation (
  section INTEGER, line INTEGER, pointer TEXT, protocol INTEGER, via TEXT,
  before_source, before_destination, after_source, after_destination,
  state TEXT, flags INTEGER, event TEXT, timeout INTEGER, zone INTEGER, mark INTEGER, number INTEGER,
  packets INTEGER, bytes INTEGER, service INTEGER, backend INTEGER,
  request_id TEXT, cluster TEXT, response_flags TEXT, start INTEGER, duration INTEGER, peer TEXT, tunnel);

CREATE TABLE service (
  id INTEGER PRIMARY KEY, section INTEGER, line INTEGER, pointer TEXT, source TEXT, mechanism TEXT,
  protocol INTEGER, address, mark INTEGER, number INTEGER, namespace TEXT, name TEXT, port TEXT, type TEXT,
  target_port INTEGER, cluster TEXT, scheduler TEXT, http INTEGER, affinity INTEGER, local INTEGER, inside INTEGER, complete INTEGER);

CREATE TABLE backend (
  service INTEGER, position INTEGER, address, number INTEGER, slot INTEGER, weight INTEGER, probability REAL,
  state TEXT, active INTEGER, namespace TEXT, name TEXT, host TEXT, line INTEGER, pointer TEXT,
  PRIMARY KEY (service, position)) WITHOUT ROWID;

CREATE TABLE owner (
  section INTEGER, line INTEGER, pointer TEXT, address TEXT, kind TEXT, namespace TEXT, name TEXT, host TEXT,
  workload TEXT, state TEXT, host_network INTEGER, container_id TEXT, pid INTEGER, netns TEXT,
  containers TEXT, ready INTEGER, total INTEGER, packet INTEGER);

CREATE TABLE address (section INTEGER, line INTEGER, pointer TEXT, prefix TEXT, device TEXT, peer TEXT);

-- What listings say of the state of something: counters, limits, words.
CREATE TABLE reading (section INTEGER, line INTEGER, pointer TEXT, subject TEXT, name TEXT, value TEXT, number INTEGER);

-- What the collector could not record, from the manifest.
CREATE TABLE missing (input INTEGER, host TEXT, what TEXT, because TEXT, detail TEXT);

CREATE TABLE problem (section INTEGER, line INTEGER, packet INTEGER, pointer TEXT, text TEXT, why TEXT);

-- Conversations in captures. client and server are arrays of JSON, which cost
-- one value to write where columns cost twenty: packets, bytes, payload, syn,
-- syns, fin, rst, isn, mss, scale, ttl, data, the time of the SYN, the stamps
-- of SYNs. Times are nanoseconds since 1970. flags: 1 guessed, 2 HTTP
CREATE TABLE flow (
  id INTEGER PRIMARY KEY, section INTEGER, packet INTEGER, protocol INTEGER, source, destination, flags INTEGER,
  interface INTEGER, device TEXT, leg TEXT, encapsulation TEXT, first INTEGER, last INTEGER, client TEXT, server TEXT, duplicates INTEGER,
  fault TEXT, announced_source, announced_destination, server_name TEXT, exchanged INTEGER, digest BLOB);

-- Flows that are views of one conversation; a flow that stands alone is not here.
CREATE TABLE conversation (flow INTEGER PRIMARY KEY, number INTEGER);

-- One connection on two sides of a NAT or a proxy, in captures. flags as of
-- translation, and 512 relay
CREATE TABLE crossing (
  section INTEGER, packet INTEGER, behind_section INTEGER, behind_packet INTEGER, protocol INTEGER,
  before_source, before_destination, after_source, after_destination,
  tier TEXT, state TEXT, flags INTEGER, start INTEGER, duration INTEGER, requests INTEGER);

CREATE TABLE interface (
  section INTEGER, number INTEGER, name TEXT, link_type INTEGER, snaplen INTEGER, filter TEXT,
  packets INTEGER, cut INTEGER, dropped INTEGER, lossy INTEGER, first INTEGER, last INTEGER);

CREATE TABLE undecoded (section INTEGER, packet INTEGER, reason TEXT, packets INTEGER, known INTEGER);
