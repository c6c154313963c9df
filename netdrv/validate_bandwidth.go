package netdrv

func validateBandwidth(fs *Findings, n *Network) {
	b := n.Bandwidth
	for _, d := range []struct {
		path           string
		whole, perPort Rate
	}{{"in", b.In, b.PerPort.In}, {"out", b.Out, b.PerPort.Out}} {
		path, each := "bandwidth."+d.path, "bandwidth.perPort."+d.path
		if (d.whole != Rate{}) && !n.Mode.OwnsBridge() {
			fs.Add(path, "is what passes the host's address on the network, and in mode %s guests reach the outside without it; use bandwidth.perPort", n.Mode)
		}
		validateRate(fs, path, d.whole)
		validateRate(fs, each, d.perPort)
		for _, r := range []struct {
			path string
			rate Rate
		}{{path, d.whole}, {each, d.perPort}} {
			if r.rate.Floor != 0 {
				fs.Add(r.path+".floor", "is a port's alone: `vnetctl port set LINK bandwidth.%s.floor=%s`", d.path, r.rate.Floor)
			}
		}
	}
	validateOneWait(fs, "bandwidth.perPort.out", n, b.PerPort.Out)
}

// validateOneWait is about frames that wait once for two limits.
func validateOneWait(fs *Findings, path string, n *Network, perPort Rate) {
	if n.Bandwidth.Out.limits() && perPort.Peak != 0 {
		fs.Add(path+".peak", "cannot be held besides bandwidth.out: a frame waits once on its way into the host; leave it out, a burst is as fast as the network's then")
	}
}

// validatePortBandwidth finds what is wrong with a port's own limits, by itself and
// beside its network's.
func validatePortBandwidth(fs *Findings, p *Port, n *Network) {
	for _, d := range []struct {
		path        string
		own, shared Rate
	}{{"in", p.Bandwidth.In, n.Bandwidth.In}, {"out", p.Bandwidth.Out, n.Bandwidth.Out}} {
		path := "bandwidth." + d.path
		validateRate(fs, path, d.own)
		floor := d.own.Floor
		switch {
		case floor == 0:
		case floor < minRate || floor > maxRate:
			fs.Add(path+".floor", "%s is outside %s to %s", floor, minRate, maxRate)
		case !d.shared.limits():
			fs.Add(path+".floor", "is a part of what all guests share, and network %s has no bandwidth.%s.average", n.Name, d.path)
		case d.own.limits() && floor > d.own.Average:
			fs.Add(path+".floor", "%s is more than the port's average of %s", floor, d.own.Average)
		}
	}
	validateOneWait(fs, "bandwidth.out", n, p.Bandwidth.Out)
}

// floors are those of all ports of a network together.
func floors(ports []Port, n *Network) (in, out BitRate) {
	for i := range ports {
		if p := &ports[i]; p.Network == n.Name {
			in, out = in+p.Bandwidth.In.Floor, out+p.Bandwidth.Out.Floor
		}
	}
	return in, out
}

// floorConflicts finds floors that together, in and out, are more than there is to share.
func floorConflicts(fs *Findings, p *Port, n *Network, in, out BitRate) {
	const more = "the floors of the network's ports are %s then, and its bandwidth.%s.average is %s"
	if b := n.Bandwidth.In; p.Bandwidth.In.Floor > 0 && b.limits() && in > b.Average {
		fs.Add("bandwidth.in.floor", more, in, "in", b.Average)
	}
	if b := n.Bandwidth.Out; p.Bandwidth.Out.Floor > 0 && b.limits() && out > b.Average {
		fs.Add("bandwidth.out.floor", more, out, "out", b.Average)
	}
}

func validateRate(fs *Findings, path string, r Rate) {
	for _, v := range []struct {
		name string
		rate BitRate
	}{{"average", r.Average}, {"peak", r.Peak}} {
		if v.rate != 0 && (v.rate < minRate || v.rate > maxRate) {
			fs.Add(path+"."+v.name, "%s is outside %s to %s", v.rate, minRate, maxRate)
		}
	}
	if r.Average == 0 {
		if r.Peak != 0 || r.Burst != 0 {
			fs.Add(path+".average", "is missing: peak and burst say how it may be exceeded")
		}
		return
	}
	if r.Peak != 0 && r.Peak < r.Average {
		fs.Add(path+".peak", "%s is less than the average of %s", r.Peak, r.Average)
	}
	switch {
	case r.Burst != 0 && r.Burst < minBurst:
		fs.Add(path+".burst", "%s is less than a frame; give %s or more", r.Burst, minBurst)
	case uint64(r.Burst) > uint64(r.Average)/8*maxBurstTime:
		fs.Add(path+".burst", "%s takes longer than a minute to gather at %s", r.Burst, r.Average)
	}
}
