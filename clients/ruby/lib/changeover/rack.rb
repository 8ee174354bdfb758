# frozen_string_literal: true

module Changeover
  module Rack
    # Puts the side of the request's user into `env["changeover.side"]` and into a header of the answer.
    #
    #   use Changeover::Rack::Side, change: "billing-allocation", user: ->(env) { env["rack.session"]["user_id"] }
    class Side
      HEADER = "x-changeover-side" # in small letters, as Rack 3 wants it
      KEY = "changeover.side"

      # @param user [#call] env → the user's id, or nil if nobody is signed in. Nobody and failures are old.
      def initialize(app, change:, user:, client: nil, header: HEADER)
        @app = app
        @change = change
        @user = user
        @client = client
        @header = header
      end

      def call(env)
        side = env[KEY] = side_of(env)
        status, headers, body = @app.call(env)
        headers = headers.to_h.dup if headers.frozen?
        headers[@header] = side
        [status, headers, body]
      end

      private

      def side_of(env)
        user = @user.call(env)
        user.nil? ? "old" : (@client || Changeover.client).side_of(@change, user, default: "old")
      rescue StandardError
        "old"
      end
    end
  end
end
