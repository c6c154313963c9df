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
		if d.path == "out" && d.whole.limits() && d.perPort.limits() {
			fs.Add(each, "cannot be held besides bandwidth.out: a frame waits once on its way into the host; give one of the two")
		}
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
