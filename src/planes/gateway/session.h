#pragma once
// Session: one client connection, whatever its protocol. Owns itself until the connection ends;
// its worker keeps a list of those that live.

namespace banyan::gateway {

class Worker;

class Session {
 public:
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // The worker drains: leaves when nothing is being answered.
  virtual void close_if_idle() = 0;
  // Ends now.
  virtual void cancel() = 0;

 protected:
  explicit Session(Worker& worker);
  ~Session();

  Worker& worker_;
};

}  // namespace banyan::gateway
