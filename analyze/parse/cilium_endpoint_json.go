package parse

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// ciliumEndpointJSON is an element of cilium endpoint list -o json.
type ciliumEndpointJSON struct {
	Status struct {
		Identifiers struct {
			Pod         string `json:"pod-name"` // namespace/name
			K8sPod      string `json:"k8s-pod-name"`
			Namespace   string `json:"k8s-namespace"`
			ContainerID string `json:"container-id"`
		} `json:"external-identifiers"`
		Networking struct {
			Addressing []struct {
				IPv4 string `json:"ipv4"`
				IPv6 string `json:"ipv6"`
			} `json:"addressing"`
		} `json:"networking"`
	} `json:"status"`
}

// ciliumIPJSON is an element of cilium ip list -o json.
type ciliumIPJSON struct {
	CIDR     string `json:"cidr"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
}

// ciliumNodeJSON is an element of cilium node list -o json.
type ciliumNodeJSON struct {
	Name    string `json:"name"`
	Primary struct {
		IPv4 struct {
			IP string `json:"ip"`
		} `json:"ipv4"`
		IPv6 struct {
			IP string `json:"ip"`
		} `json:"ipv6"`
	} `json:"primary-address"`
	Secondary []struct {
		IP string `json:"ip"`
	} `json:"secondary-addresses"`
}

func ciliumEndpointClaim(d *Doc) bool {
	if !d.IsArray() {
		keys, rows := ciliumMapDoc(d)
		return len(keys) > 0 && ciliumEndpointRow(ciliumMapRow(keys[0], rows[keys[0]][0])) != ciliumNoTable
	}
	f := d.First()
	if f.has("cidr", "identity") || f.has("name", "primary-address") {
		return true
	}
	var status map[string]json.RawMessage
	return f.has("id", "status") && f.Get("status", &status) && status["external-identifiers"] != nil
}

func ciliumEndpointDoc(d *Doc, out *Out) {
	if !d.IsArray() {
		ciliumEndpointMap(d, out)
		return
	}
	f := d.First()
	for i, raw := range d.Elements() {
		out.At("/" + strconv.Itoa(i))
		var err error
		switch {
		case f.Has("cidr"):
			err = ciliumIPElement(raw, out)
		case f.Has("primary-address"):
			err = ciliumNodeElement(raw, out)
		default:
			err = ciliumEndpointElement(raw, out)
		}
		if err != nil {
			ciliumElementProblem(out, raw, "expected an endpoint, a node or an address: "+err.Error())
		}
	}
}

// ciliumEndpointMap reads the datapath's tables as JSON.
func ciliumEndpointMap(d *Doc, out *Out) {
	keys, rows := ciliumMapDoc(d)
	p := &ciliumEndpointList{out: out}
	for _, k := range keys {
		for i, v := range rows[k] {
			out.At("/" + pointerToken(k) + "/" + strconv.Itoa(i))
			p.read(ciliumMapRow(k, v))
		}
	}
}

func ciliumEndpointElement(raw json.RawMessage, out *Out) error {
	var j ciliumEndpointJSON
	err := json.Unmarshal(raw, &j)
	id := &j.Status.Identifiers
	namespace, name := id.Namespace, id.K8sPod
	if name == "" {
		if i := strings.IndexAny(id.Pod, "/:"); i > 0 {
			namespace, name = id.Pod[:i], id.Pod[i+1:]
		}
	}
	if name == "" {
		return err // the host, health: no pod
	}
	for _, a := range j.Status.Networking.Addressing {
		for _, ip := range []string{a.IPv4, a.IPv6} {
			if ip == "" {
				continue
			}
			addr, ok := address([]byte(ip))
			if !ok {
				ciliumElementProblem(out, raw, "expected an address of the endpoint")
				continue
			}
			out.Owner(record.Owner{Kind: record.OwnerPod, Namespace: namespace, Name: name, Address: addr, ContainerID: id.ContainerID})
		}
	}
	return err
}

func ciliumIPElement(raw json.RawMessage, out *Out) error {
	var j ciliumIPJSON
	err := json.Unmarshal(raw, &j)
	prefix, perr := netip.ParsePrefix(j.CIDR)
	if perr == nil && prefix.IsSingleIP() && j.Metadata.Name != "" && j.Metadata.Namespace != "" {
		out.Owner(record.Owner{
			Kind: record.OwnerPod, Namespace: j.Metadata.Namespace, Name: j.Metadata.Name, Address: prefix.Addr().Unmap(),
		})
	}
	return err
}

func ciliumNodeElement(raw json.RawMessage, out *Out) error {
	var j ciliumNodeJSON
	err := json.Unmarshal(raw, &j)
	name := ciliumNodeName(j.Name)
	ips := []string{j.Primary.IPv4.IP, j.Primary.IPv6.IP}
	for _, s := range j.Secondary {
		ips = append(ips, s.IP)
	}
	for _, ip := range ips {
		if a, ok := address([]byte(ip)); ok {
			out.Owner(record.Owner{Kind: record.OwnerNode, Name: name, Host: name, Address: a})
		}
	}
	return err
}
