package kernel

import (
	"encoding/binary"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The bits of tcp_info's options.
const (
	optTimestamps = 1 << iota
	optSACK
	optWindowScale
	optECN
	optECNSeen
	optSynData
	optMicroseconds
)

// tcpInfo is the kernel's tcp_info. An older kernel gives less of it; the rest is
// 0, and what is 0 is not printed.
type tcpInfo struct {
	unix.TCPInfo
	raw [8]byte // its first bytes; of two of them, unix.TCPInfo has no fields
}

func readInfo(b []byte) *tcpInfo {
	i := &tcpInfo{}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&i.TCPInfo)), unsafe.Sizeof(i.TCPInfo)), b)
	copy(i.raw[:], b)
	return i
}

// appendCount appends a number, or nothing for 0.
func appendCount(out []byte, key string, n uint64) []byte {
	if n == 0 {
		return out
	}
	return strconv.AppendUint(append(out, key...), n, 10)
}

// appendMilli appends microseconds as milliseconds, or nothing for 0.
func appendMilli(out []byte, key string, micro uint32) []byte {
	if micro == 0 {
		return out
	}
	return appendFloat(append(out, key...), float64(micro)/1000)
}

// appendFloat appends a number as C's %g does.
func appendFloat(out []byte, f float64) []byte { return strconv.AppendFloat(out, f, 'g', 6, 64) }

// appendRate appends bits per second, or nothing for 0.
func appendRate(out []byte, key string, bps float64) []byte {
	if bps == 0 {
		return out
	}
	return append(strconv.AppendFloat(append(out, key...), bps, 'f', 0, 64), "bps"...)
}

// appendInfo appends what -i adds.
func (d *diag) appendInfo(out []byte) []byte {
	b := d.attrs[diagInfo]
	if b == nil {
		return out
	}
	i := readInfo(b)
	out = i.appendOptions(out)
	if cong := name(d.attrs[diagCong]); len(cong) > 0 {
		out = appendPrintable(append(out, ' '), cong)
	}
	out = i.appendPath(out)
	out = i.appendCounters(out)
	out = d.appendCongestion(out)
	out = i.appendRates(out, d.attrs[diagVegas])
	out = i.appendLimits(out)
	out = i.appendLosses(out)
	return i.appendWindows(out)
}

func (i *tcpInfo) appendOptions(out []byte) []byte {
	for _, o := range [...]struct {
		bit  byte
		name string
	}{
		{optTimestamps, " ts"}, {optMicroseconds, " usec_ts"}, {optSACK, " sack"},
		{optECN, " ecn"}, {optECNSeen, " ecnseen"}, {optSynData, " fastopen"},
	} {
		if i.Options&o.bit != 0 {
			out = append(out, o.name...)
		}
	}
	return out
}

// appendPath appends what is known of the way to the peer.
func (i *tcpInfo) appendPath(out []byte) []byte {
	if i.Options&optWindowScale != 0 {
		out = strconv.AppendUint(append(out, " wscale:"...), uint64(i.raw[6]&15), 10)
		out = strconv.AppendUint(append(out, ','), uint64(i.raw[6]>>4), 10)
	}
	if i.Rto != 3000000 { // what a socket without a connection has
		out = appendMilli(out, " rto:", i.Rto)
	}
	out = appendCount(out, " backoff:", uint64(i.Backoff))
	if i.Rtt != 0 {
		out = appendMilli(out, " rtt:", i.Rtt)
		out = appendFloat(append(out, '/'), float64(i.Rttvar)/1000)
	}
	out = appendMilli(out, " ato:", i.Ato)
	out = appendCount(out, " mss:", uint64(i.Snd_mss))
	out = appendCount(out, " pmtu:", uint64(i.Pmtu))
	out = appendCount(out, " rcvmss:", uint64(i.Rcv_mss))
	out = appendCount(out, " advmss:", uint64(i.Advmss))
	out = appendCount(out, " cwnd:", uint64(i.Snd_cwnd))
	if i.Snd_ssthresh < 0xffff { // else it has none yet
		out = appendCount(out, " ssthresh:", uint64(i.Snd_ssthresh))
	}
	return out
}

func (i *tcpInfo) appendCounters(out []byte) []byte {
	out = appendCount(out, " bytes_sent:", i.Bytes_sent)
	out = appendCount(out, " bytes_retrans:", i.Bytes_retrans)
	out = appendCount(out, " bytes_acked:", i.Bytes_acked)
	out = appendCount(out, " bytes_received:", i.Bytes_received)
	out = appendCount(out, " segs_out:", uint64(i.Segs_out))
	out = appendCount(out, " segs_in:", uint64(i.Segs_in))
	out = appendCount(out, " data_segs_out:", uint64(i.Data_segs_out))
	return appendCount(out, " data_segs_in:", uint64(i.Data_segs_in))
}

// appendCongestion appends what two of the congestion controls tell.
func (d *diag) appendCongestion(out []byte) []byte {
	u32 := binary.NativeEndian.Uint32
	if b := d.attrs[diagDCTCP]; len(b) >= 16 {
		if binary.NativeEndian.Uint16(b) == 0 {
			return append(out, " dctcp:fallback_mode"...)
		}
		out = strconv.AppendUint(append(out, " dctcp:(ce_state:"...), uint64(binary.NativeEndian.Uint16(b[2:])), 10)
		out = strconv.AppendUint(append(out, ",alpha:"...), uint64(u32(b[4:])), 10)
		out = strconv.AppendUint(append(out, ",ab_ecn:"...), uint64(u32(b[8:])), 10)
		out = strconv.AppendUint(append(out, ",ab_tot:"...), uint64(u32(b[12:])), 10)
		return append(out, ')')
	}
	b := d.attrs[diagBBR]
	if len(b) < 20 {
		return out
	}
	bytesPerSecond := uint64(u32(b)) | uint64(u32(b[4:]))<<32
	out = strconv.AppendFloat(append(out, " bbr:(bw:"...), float64(bytesPerSecond)*8, 'f', 0, 64)
	out = appendFloat(append(out, "bps,mrtt:"...), float64(u32(b[8:]))/1000)
	if gain := u32(b[12:]); gain != 0 {
		out = appendFloat(append(out, ",pacing_gain:"...), float64(gain)/256)
	}
	if gain := u32(b[16:]); gain != 0 {
		out = appendFloat(append(out, ",cwnd_gain:"...), float64(gain)/256)
	}
	return append(out, ')')
}

func (i *tcpInfo) appendRates(out, vegas []byte) []byte {
	rtt := i.Rtt
	if len(vegas) >= 16 && binary.NativeEndian.Uint32(vegas) != 0 {
		if r := binary.NativeEndian.Uint32(vegas[8:]); r != 0 && r != 1<<31-1 {
			rtt = r
		}
	}
	if rtt > 0 {
		out = appendRate(out, " send ", float64(i.Snd_cwnd)*float64(i.Snd_mss)*8000000/float64(rtt))
	}
	out = appendCount(out, " lastsnd:", uint64(i.Last_data_sent))
	out = appendCount(out, " lastrcv:", uint64(i.Last_data_recv))
	out = appendCount(out, " lastack:", uint64(i.Last_ack_recv))
	const none = 1<<64 - 1
	if i.Pacing_rate != 0 && i.Pacing_rate != none {
		out = appendRate(out, " pacing_rate ", float64(i.Pacing_rate)*8)
		if i.Max_pacing_rate != none {
			out = appendRate(out, "/", float64(i.Max_pacing_rate)*8)
		}
	}
	out = appendRate(out, " delivery_rate ", float64(i.Delivery_rate)*8)
	out = appendCount(out, " delivered:", uint64(i.Delivered))
	return appendCount(out, " delivered_ce:", uint64(i.Delivered_ce))
}

// appendLimits appends what held the sending back.
func (i *tcpInfo) appendLimits(out []byte) []byte {
	if i.raw[7]&1 != 0 {
		out = append(out, " app_limited"...)
	}
	if i.Busy_time == 0 {
		return out
	}
	out = append(strconv.AppendUint(append(out, " busy:"...), i.Busy_time/1000, 10), "ms"...)
	part := func(key string, micro uint64) {
		if micro == 0 {
			return
		}
		out = strconv.AppendUint(append(out, key...), micro/1000, 10)
		out = strconv.AppendFloat(append(out, "ms("...), 100*float64(micro)/float64(i.Busy_time), 'f', 1, 64)
		out = append(out, "%)"...)
	}
	part(" rwnd_limited:", i.Rwnd_limited)
	part(" sndbuf_limited:", i.Sndbuf_limited)
	return out
}

func (i *tcpInfo) appendLosses(out []byte) []byte {
	out = appendCount(out, " unacked:", uint64(i.Unacked))
	if i.Retrans != 0 || i.Total_retrans != 0 {
		out = strconv.AppendUint(append(out, " retrans:"...), uint64(i.Retrans), 10)
		out = strconv.AppendUint(append(out, '/'), uint64(i.Total_retrans), 10)
	}
	out = appendCount(out, " lost:", uint64(i.Lost))
	if i.State != unix.BPF_TCP_LISTEN { // there it is the backlog, as in Send-Q
		out = appendCount(out, " sacked:", uint64(i.Sacked))
	}
	out = appendCount(out, " dsack_dups:", uint64(i.Dsack_dups))
	out = appendCount(out, " fackets:", uint64(i.Fackets))
	if i.Reordering != 3 { // the usual
		out = strconv.AppendUint(append(out, " reordering:"...), uint64(i.Reordering), 10)
	}
	return appendCount(out, " reord_seen:", uint64(i.Reord_seen))
}

func (i *tcpInfo) appendWindows(out []byte) []byte {
	out = appendMilli(out, " rcv_rtt:", i.Rcv_rtt)
	out = appendCount(out, " rcv_space:", uint64(i.Rcv_space))
	out = appendCount(out, " rcv_ssthresh:", uint64(i.Rcv_ssthresh))
	out = appendCount(out, " notsent:", uint64(i.Notsent_bytes))
	if i.Min_rtt != 1<<32-1 { // none was measured
		out = appendMilli(out, " minrtt:", i.Min_rtt)
	}
	out = appendCount(out, " rcv_ooopack:", uint64(i.Rcv_ooopack))
	out = appendCount(out, " snd_wnd:", uint64(i.Snd_wnd))
	out = appendCount(out, " rcv_wnd:", uint64(i.Rcv_wnd))
	return appendCount(out, " rehash:", uint64(i.Rehash))
}

// The kinds of linux/inet_diag.h and linux/tls.h for what lies above TCP.
const (
	ulpName    = 1
	ulpTLS     = 2
	tlsVersion = 1
	tlsCipher  = 2
	tlsSends   = 3
	tlsReceive = 4
)

// appendULP appends what lies between TCP and the program. Of TLS in the kernel
// it says what ss says, and there are no keys in it.
func (d *diag) appendULP(out []byte) []byte {
	if d.attrs[diagULP] == nil {
		return out
	}
	var ulp, tls [5][]byte
	spread(ulp[:], d.attrs[diagULP])
	if above := name(ulp[ulpName]); len(above) > 0 {
		out = appendPrintable(append(out, " tcp-ulp-"...), above)
	}
	spread(tls[:], ulp[ulpTLS])
	word := func(key string, b []byte, unknown bool, names map[uint16]string) {
		if len(b) < 2 {
			return
		}
		n := binary.NativeEndian.Uint16(b)
		switch text, ok := names[n]; {
		case ok:
			out = append(append(out, key...), text...)
		case unknown:
			out = strconv.AppendUint(append(append(out, key...), "unknown("...), uint64(n), 10)
			out = append(out, ')')
		}
	}
	where := map[uint16]string{1: "none", 2: "sw", 3: "hw", 4: "hw-record"}
	word(" version: ", tls[tlsVersion], true, map[uint16]string{0x303: "1.2", 0x304: "1.3"})
	word(" cipher: ", tls[tlsCipher], false, map[uint16]string{51: "aes-gcm-128", 52: "aes-gcm-256"})
	word(" rxconf: ", tls[tlsReceive], true, where)
	word(" txconf: ", tls[tlsSends], true, where)
	return out
}
