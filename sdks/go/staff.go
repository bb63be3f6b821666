package meshloom

// span is a range of units of a work: inputs, or lanes where inputs must run one after the other.
type span struct{ begin, end int }

func (s span) empty() bool { return s.begin == s.end }

// half takes the later half of s, of one unit this one.
func (s *span) half() span {
	middle := s.begin + (s.end-s.begin)/2
	taken := span{middle, s.end}
	s.end = middle
	return taken
}

// start begins the work with one worker that has claimed everything. Others join in and take over halves of what is left,
// each calling in the next, as soon as there is a processor or a blocked call that leaves them time to: a work of fast
// calls is mostly done by then and costs no more than a loop.
func (w *work) start() {
	if w.stream.acquire(w.ctx) {
		w.serve(w.workers[0])
	} else {
		w.finish()
	}
}

// serve lets r work until nothing is left to begin. The last worker to leave finishes the work.
func (w *work) serve(r *worker) {
	defer w.leave() // also when a handler ends its goroutine
	r.ar.routes, r.ar.inputs, r.ar.keeps = w.stream.node.options.routes, w.view, w.stream.body.many
	r.out.arena, r.out.full = &r.ar, r.sendPieces
	w.callIn(r)
	for {
		r.run()
		if !w.relieve(r) {
			return
		}
	}
}

// callIn calls in one more worker if there is something to share.
func (w *work) callIn(r *worker) {
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	r.mu.Lock()
	left := r.units.end - r.units.begin
	r.mu.Unlock()
	if left < 2 || w.called == cap(w.stream.slots) {
		return
	}
	w.called++
	w.stream.running.Go(func() {
		if !w.stream.acquire(w.ctx) {
			return
		}
		if r := w.join(); r != nil {
			w.serve(r)
		} else {
			w.stream.free()
		}
	})
}

// join adds a worker with a share of the work; nil when there is nothing to share.
func (w *work) join() *worker {
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	r := &worker{work: w}
	if w.active == 0 || !w.share(r) { // the last to leave has finished the work
		return nil
	}
	w.workers = append(w.workers, r)
	w.active++
	return r
}

// relieve gives an idle worker a share of another's.
func (w *work) relieve(r *worker) bool {
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	return w.share(r)
}

// share moves half of the largest share to r. The caller holds workerMu, so that no unit is out of sight of Cancel.
func (w *work) share(r *worker) bool {
	var largest *worker
	most := 0
	for _, one := range w.workers {
		one.mu.Lock()
		left := one.units.end - one.units.begin
		one.mu.Unlock()
		if left > most {
			largest, most = one, left
		}
	}
	if largest == nil {
		return false
	}
	largest.mu.Lock()
	taken := largest.units.half()
	largest.mu.Unlock()
	if taken.empty() { // begun meanwhile
		return w.share(r)
	}
	r.mu.Lock()
	r.units = taken
	r.mu.Unlock()
	return true
}

func (w *work) leave() {
	w.stream.free()
	w.workerMu.Lock()
	w.active--
	last := w.active == 0
	w.workerMu.Unlock()
	if last {
		w.finish()
	}
}
