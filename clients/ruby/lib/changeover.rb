# frozen_string_literal: true

require_relative "changeover/version"
require_relative "changeover/errors"
require_relative "changeover/retries"
require_relative "changeover/transport"
require_relative "changeover/plain"
require_relative "changeover/bucket"
require_relative "changeover/answers"
require_relative "changeover/state_file"
require_relative "changeover/event_stream"
require_relative "changeover/flags"
require_relative "changeover/observations"
require_relative "changeover/migrator"
require_relative "changeover/routing"
require_relative "changeover/writes"
require_relative "changeover/gate"
require_relative "changeover/client"

# The client of a Changeover server.
#
#   Changeover.configure { |settings| settings.url = "http://127.0.0.1:8080"; settings.token = ENV["CHANGEOVER_TOKEN"] }
#   Changeover.client.boolean("new-player", false, user.id)
module Changeover
  # What Client.new takes.
  Settings = Struct.new(:url, :token, :timeout, :state_path, :events, :max_age, :contexts_max, :observations_max, :side_max_age, :logger,
                        keyword_init: true)

  @lock = Mutex.new

  class << self
    # Says where the server is; the client is made when it is first asked for. Call it once, in an initializer.
    def configure
      settings = Settings.new
      yield settings if block_given?
      @lock.synchronize do
        @client&.close
        @client = nil
        @settings = settings
      end
    end

    # The process's client.
    def client
      @client || begin
        configure unless @settings
        @lock.synchronize { @client ||= Client.new(**@settings.to_h.compact) }
      end
    end

    # The server's bucket of a value, 0 to 99,999, for code that divides by itself.
    def bucket(seed, value)
      Bucket.of(seed, value)
    end
  end
end
