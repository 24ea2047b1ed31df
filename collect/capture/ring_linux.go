package capture

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The kernel hands over a block that is not full after a while. Small blocks and
// a long while make that a reader that has to wait for a busy processor loses
// nothing: a ring of 2 MiB bears with it for four seconds, however few packets come.
const (
	blockSize = 32 << 10
	frameSize = 2 << 10 // the kernel wants one, and does not use it in this version
	// retire, in milliseconds, is how long the kernel may hold packets back to
	// give more at a time.
	retire = 60
)

// ring is a packet socket that shares a ring of blocks with the kernel
// (TPACKET_V3): packets that come together cost no call each.
type ring struct {
	f      *os.File
	shared []byte
	next   int // the block that is read next
}

// newRing opens a packet socket in the calling thread's network namespace. It
// sees packets of all devices from the time it is bound.
func newRing(size int, filter []bpf.RawInstruction) (*ring, error) {
	// Cooked: the packets of every device begin with the header of IP.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("packet socket", err)
	}
	blocks := max(2, size/blockSize)
	req := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: uint32(blocks),
		Frame_size: frameSize, Frame_nr: uint32(blocks * (blockSize / frameSize)),
		Retire_blk_tov: retire,
	}
	err = attach(fd, filter)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3)
	}
	if err == nil {
		err = unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req)
	}
	r := &ring{}
	if err == nil {
		r.shared, err = unix.Mmap(fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("packet ring", err)
	}
	r.f = os.NewFile(uintptr(fd), "packets")
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)}); err != nil {
		r.close()
		return nil, os.NewSyscallError("packet socket", err)
	}
	return r, nil
}

func attach(fd int, filter []bpf.RawInstruction) error {
	code := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
}

func htons(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// shut lets no more packets in.
func (r *ring) shut() error {
	none := []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}}
	raw, err := r.f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = attach(int(fd), none) }); err != nil {
		return err
	}
	return failed
}

// counts gives how many packets came, and how many of them there was no room
// for, since it was last asked.
func (r *ring) counts() (came, dropped uint64, err error) {
	raw, err := r.f.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var s *unix.TpacketStatsV3
	var failed error
	if err := raw.Control(func(fd uintptr) {
		s, failed = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}); err != nil {
		return 0, 0, err
	}
	if failed != nil {
		return 0, 0, failed
	}
	return uint64(s.Packets), uint64(s.Drops), nil
}

// name asks for the name of a device in the socket's namespace.
func (r *ring) name(index uint32) (string, bool) {
	raw, err := r.f.SyscallConn()
	if err != nil {
		return "", false
	}
	var q struct {
		name  [unix.IFNAMSIZ]byte
		index uint32
		_     [20]byte
	}
	q.index = index
	var failed unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = unix.Syscall(unix.SYS_IOCTL, fd, unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&q)))
	})
	if err != nil || failed != 0 {
		return "", false
	}
	return unix.ByteSliceToString(q.name[:]), true
}

func (r *ring) close() {
	r.f.Close()
	unix.Munmap(r.shared)
}

// Where things stand in a block and in a packet of it, of linux/if_packet.h.
const (
	blockStatus = 8
	blockCount  = 12
	blockFirst  = 16

	frameNext  = 0
	frameSec   = 4
	frameNsec  = 8
	frameSnap  = 12
	frameLen   = 16
	frameState = 20
	frameNet   = 26
	frameTag   = 32
	frameTPID  = 36
	frameFrom  = 48 // a struct sockaddr_ll
	frameMin   = frameFrom + unix.SizeofSockaddrLinklayer
)

// each gives the packets that are there, and gives their room back to the
// kernel. It ends early when f returns false. The frame is good until f returns.
func (r *ring) each(f func(*frame) bool) bool {
	var one frame
	for {
		block := r.shared[r.next*blockSize : (r.next+1)*blockSize]
		status := (*uint32)(unsafe.Pointer(&block[blockStatus]))
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			return true
		}
		at := binary.NativeEndian.Uint32(block[blockFirst:])
		for range binary.NativeEndian.Uint32(block[blockCount:]) {
			next, ok := one.read(block, at)
			if !ok {
				break
			}
			if !f(&one) {
				return false
			}
			at = next
		}
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % (len(r.shared) / blockSize)
	}
}

// read reads the packet at a place in a block.
func (f *frame) read(block []byte, at uint32) (next uint32, ok bool) {
	if uint64(at)+frameMin > uint64(len(block)) {
		return 0, false
	}
	h := block[at:]
	u32 := func(i int) uint32 { return binary.NativeEndian.Uint32(h[i:]) }
	begin, kept := uint64(binary.NativeEndian.Uint16(h[frameNet:])), uint64(u32(frameSnap))
	if begin+kept > uint64(len(h)) {
		return 0, false
	}
	from := h[frameFrom:]
	*f = frame{
		nanoseconds: uint64(u32(frameSec))*1e9 + uint64(u32(frameNsec)),
		protocol:    binary.BigEndian.Uint16(from[2:]),
		device:      binary.NativeEndian.Uint32(from[4:]),
		kind:        binary.NativeEndian.Uint16(from[8:]),
		how:         from[10],
		sender:      from[12 : 12+min(8, int(from[11]))],
		packet:      h[begin : begin+kept],
		size:        int(u32(frameLen)),
	}
	f.inside = f.protocol
	if state := u32(frameState); state&unix.TP_STATUS_VLAN_VALID != 0 {
		f.vlan = binary.BigEndian.AppendUint16(nil, uint16(u32(frameTag)))
		f.vlan = binary.BigEndian.AppendUint16(f.vlan, f.protocol)
		f.protocol = linkVLAN
		if state&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			f.protocol = binary.NativeEndian.Uint16(h[frameTPID:])
		}
	}
	return at + u32(frameNext), true
}
