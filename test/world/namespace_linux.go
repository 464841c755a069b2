package world

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// Isolated gives a command that runs in a network namespace of its own: nothing that it sends leaves the namespace, in which
// there is a loopback interface, down and without addresses, and no other (see Settle). Everything in the namespace ends with the
// command. A process cannot go there itself, since in Go its threads would have to go one by one.
//
// It needs root, or a system that lets users make namespaces: otherwise starting the command fails with EPERM, ENOSPC or EACCES.
func Isolated(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// NoNamespace tells whether an error of starting a command of Isolated says that namespaces are not to be had here.
func NoNamespace(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EACCES)
}

// Settle brings up the loopback interface of a new namespace and gives it addresses, IPv4 and IPv6. Where the interface is up
// already it refuses: that is no new namespace, and perhaps the machine's own.
func Settle(addrs ...netip.Addr) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	for _, a := range addrs {
		if err := addAddress(a); err != nil {
			return err
		}
	}
	return nil
}

func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("world: loopback interface: %w", err)
	}
	defer syscall.Close(fd)
	var request [40]byte // struct ifreq of netdevice(7): a name of 16 octets, then the flags
	copy(request[:], "lo")
	control := func(what uintptr) error {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("world: loopback interface: %w", errno)
		}
		return nil
	}
	if err := control(syscall.SIOCGIFFLAGS); err != nil {
		return err
	}
	flags := binary.NativeEndian.Uint16(request[16:])
	if flags&syscall.IFF_UP != 0 {
		return errors.New("world: the loopback interface is up already: this is no new network namespace")
	}
	binary.NativeEndian.PutUint16(request[16:], flags|syscall.IFF_UP)
	return control(syscall.SIOCSIFFLAGS)
}

// addAddress adds an address to the interface 1, which is the loopback one (rtnetlink(7)).
func addAddress(addr netip.Addr) error {
	family, flags, octets := byte(syscall.AF_INET), byte(0), addr.AsSlice()
	if addr.Is6() { // without a look for the same address elsewhere, during which nobody can listen at it (RFC 4862 section 5.4)
		family, flags = syscall.AF_INET6, syscall.IFA_F_NODAD
	}
	m := make([]byte, syscall.NLMSG_HDRLEN+syscall.SizeofIfAddrmsg+syscall.SizeofRtAttr, 64)
	order := binary.NativeEndian
	order.PutUint16(m[4:], syscall.RTM_NEWADDR)
	order.PutUint16(m[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_ACK|syscall.NLM_F_CREATE|syscall.NLM_F_EXCL)
	m[16], m[17], m[18] = family, byte(8*len(octets)), flags
	order.PutUint32(m[20:], 1)
	order.PutUint16(m[24:], uint16(syscall.SizeofRtAttr+len(octets)))
	order.PutUint16(m[26:], syscall.IFA_LOCAL)
	m = append(m, octets...)
	order.PutUint32(m, uint32(len(m)))

	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("world: address %v: %w", addr, err)
	}
	defer syscall.Close(fd)
	if err := syscall.Sendto(fd, m, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return fmt.Errorf("world: address %v: %w", addr, err)
	}
	reply := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(fd, reply, 0)
	if err != nil {
		return fmt.Errorf("world: address %v: %w", addr, err)
	}
	if n < 20 || order.Uint16(reply[4:]) != syscall.NLMSG_ERROR {
		return fmt.Errorf("world: address %v: the system gives no receipt", addr)
	}
	if code := int32(order.Uint32(reply[16:])); code != 0 {
		return fmt.Errorf("world: address %v: %w", addr, syscall.Errno(-code))
	}
	return nil
}
