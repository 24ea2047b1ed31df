package collect

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// sysctlPattern is what is recorded of the kernel's settings, as an argument of
// sysctl: the limits of connection tracking and how full its table is, its
// timeouts, the range of source ports, and what IPVS does with a connection
// whose backend went away.
const sysctlPattern = `^net\.(ipv4\.(ip_local_(port_range|reserved_ports)|vs\.(conn_reuse_mode|conntrack|expire_nodest_conn))|netfilter\.nf_conntrack_(buckets|count|max|tcp_be_liberal|.*timeout.*))$`

// sysctlFolders are where these are, in the order in which sysctl goes.
var sysctlFolders = []string{"net/ipv4", "net/ipv4/vs", "net/netfilter"}

// settings lists them as sysctl prints them. What the kernel shows below
// /proc/sys/net is that of the thread's network namespace.
func settings(e *env) (io.ReadCloser, error) {
	wanted := regexp.MustCompile(sysctlPattern)
	var out bytes.Buffer
	for _, folder := range sysctlFolders {
		files, err := os.ReadDir(e.host.file("proc/sys", folder))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its module is not loaded
		}
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			name := strings.ReplaceAll(folder, "/", ".") + "." + f.Name()
			if !wanted.MatchString(name) {
				continue
			}
			value, err := os.ReadFile(e.host.file("proc/sys", folder, f.Name()))
			if err != nil {
				return nil, err
			}
			out.WriteString(name + " = " + strings.TrimSpace(string(value)) + "\n")
		}
	}
	return io.NopCloser(&out), nil
}

// needsSysctl keeps a host that shows no settings apart from one that has none.
func needsSysctl(h *host, _ string) (string, string) {
	if !h.exists("proc/sys/net") {
		return notFound, "/proc/sys/net is not there"
	}
	return "", ""
}
